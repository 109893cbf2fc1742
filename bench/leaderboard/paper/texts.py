"""Texts that become LaTeX and Markdown: what comes from a run is printed as it is, whatever it holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from bench.leaderboard import latex
from bench.leaderboard import markdown as md

GLYPH = r"\providecommand{\benchglyph}[2]{\ifdefined\Umathcode#1\else\texttt{#2}\fi}"
"""Prints a character under LuaLaTeX and XeLaTeX, and its number under pdfLaTeX, which has no letters of other scripts."""
_LACKING = frozenset("ĦħĸĿŀŉŦŧ")
"""Of Latin-1 and Latin Extended-A, what T1 fonts lack."""
_LIGATURES = frozenset("-`',")
_OPTIONAL = frozenset("[]*")
"""What LaTeX takes for an argument after a line's end."""
_LONG = 20
"""So may a longer word elsewhere, after punctuation."""
_CHUNK = 16
"""A long word in code may break after so many characters."""
_HEAD = 18
"""A line of a long head has at most so many, where its parts allow it."""
_LIBRARY = re.compile(r"[a-z]+\.(?=[A-Z])")
"""Before an attack's name in its library, as in ``foolbox.LinfDeepFoolAttack``."""
_HUMPS = re.compile(r"(?<=[-_.+=/: ])(?=[A-Za-z])|(?<=[a-z0-9])(?=[A-Z])")


class Cite(NamedTuple):
    """Citations, by the keys of their entries."""

    keys: tuple[str, ...]


class Code(NamedTuple):
    """Text that is printed letter by letter: a name, a digest, a command."""

    text: str


Part = str | Cite | Code
Text = tuple[Part, ...]


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, anywhere in a document and in a table; white space becomes single blanks."""
    whole = unicodedata.normalize("NFC", " ".join(str(text).split()))
    return "".join(_written(char, after) for char, after in zip(whole, f"{whole[1:]} ", strict=True))


def _written(char: str, after: str) -> str:
    if char in _OPTIONAL:
        return f"{{{char}}}"
    if (char in _LIGATURES and after == char) or (char in "?!" and after == "`"):
        return f"{char}{{}}"
    known = latex.escape(char)
    if known != char or " " <= char <= "~" or ("\u00a1" <= char <= "\u017e" and char not in _LACKING):
        return known
    if unicodedata.category(char)[0] in "CM":  # control, private and combining characters print nothing by themselves
        return rf"\texttt{{U+{ord(char):04X}}}"
    return rf"\benchglyph{{{char}}}{{U+{ord(char):04X}}}"


def breakable(text: str) -> str:
    """The same, where long words may go on in the next line after their parts."""
    return " ".join(_parts(word) if len(word) > _LONG else escape(word) for word in text.split())


def _parts(word: str) -> str:
    """Broken after punctuation that stands alone, so that no ligature or accent is cut."""
    return r"\allowbreak{}".join(escape(part) for part in re.findall(r"[^-_.+=/:]*[-_.+=/:]+|[^-_.+=/:]+", word))


def stacked(text: str) -> str:
    """The head of a column: a long one in several lines, so that no name makes the table so wide that it is shrunk."""
    if len(text) <= _LONG:
        return escape(text)
    lines = r"\\".join(escape(line) for line in head_lines(text))
    return rf"\begin{{tabular}}[b]{{@{{}}c@{{}}}}{lines}\end{{tabular}}"


def head_lines(text: str) -> list[str]:
    """The lines of a long head, which end after punctuation or before a capital; a library has a line of its own."""
    library = _LIBRARY.match(text)
    lines = [library[0], ""] if library else [""]
    for part in _HUMPS.split(text[len(lines[0]) :]):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > _HEAD:
            lines.append("")
        lines[-1] += part
    return [line.strip() for line in lines]


def cite(keys: Sequence[str]) -> str:
    r"""``~\cite{...}``, or nothing where there are no keys."""
    return rf"~\cite{{{','.join(keys)}}}" if keys else ""


def to_latex(text: Text) -> str:
    """A text with its citations as LaTeX."""
    return "".join(_latex(part) for part in text)


def to_markdown(text: Text) -> str:
    """A text with its citations, as ``[@key]``, in Markdown."""
    return "".join(_markdown(part) for part in text)


def _latex(part: Part) -> str:
    if isinstance(part, Cite):
        return cite(part.keys)
    if isinstance(part, Code):
        words = " ".join(part.text.split()).split(" ")
        return rf"\texttt{{{' '.join(_breakable(word) for word in words)}}}"
    return _outer(part, breakable(part))


def _markdown(part: Part) -> str:
    if isinstance(part, Cite):
        return " [" + "; ".join(f"@{key}" for key in part.keys) + "]" if part.keys else ""
    if isinstance(part, Code):
        return f"`{' '.join(part.text.split()).replace('`', chr(39))}`"
    return _outer(part, md.escape(" ".join(part.split())))


def _outer(part: str, inner: str) -> str:
    """Blanks at the ends are those between two parts."""
    if not part.strip():
        return part and " "
    return " " * (part[0] == " ") + inner.strip() + " " * (part[-1] == " ")


def _breakable(word: str) -> str:
    pieces = [word[start : start + _CHUNK] for start in range(0, len(word), _CHUNK)]
    return r"\allowbreak{}".join(escape(piece) for piece in pieces)
