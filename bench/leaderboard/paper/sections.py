"""Sections of an appendix, and how they are written in LaTeX and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench.leaderboard.paper.texts import GLYPH, Text, escape, to_latex, to_markdown


class Paragraph(NamedTuple):
    """Running text."""

    text: Text


class Item(NamedTuple):
    """A term and what is said of it."""

    term: str
    text: Text


class Items(NamedTuple):
    """A list of terms."""

    items: tuple[Item, ...]


class Lines(NamedTuple):
    """A table: columns of names (to the left, given as ``l``) and of numbers (``r``)."""

    headers: tuple[str, ...]
    align: str
    rows: tuple[tuple[Text, ...], ...]


class Listing(NamedTuple):
    """A file, letter by letter."""

    lines: tuple[str, ...]


class Section(NamedTuple):
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Paragraph | Items | Lines | Listing]


def latex(title: str, sections: Sequence[Section], head: str) -> str:
    """A fragment for ``\\input``; it needs ``longtable``, which knows one column only, ``booktabs`` and ``array``.

    Args:
        title: of the whole.
        sections: what it holds.
        head: a comment above it, one line.
    """
    lines = [f"% {head}", r"% needs \usepackage[T1]{fontenc} and \usepackage{array,booktabs,longtable}", GLYPH]
    lines += [r"\csname if@twocolumn\endcsname\onecolumn\fi", rf"\section{{{escape(title)}}}", ""]
    for section in sections:
        lines += [rf"\subsection{{{escape(section.title)}}}", ""]
        for part in section.parts:
            lines += [_latex(part), ""]
    return "\n".join(lines)


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The same in Markdown; citations stand as ``[@key]``."""
    lines = [f"# {to_markdown((title,))}", ""]
    for section in sections:
        lines += [f"## {to_markdown((section.title,))}", ""]
        for part in section.parts:
            lines += [_markdown(part), ""]
    return "\n".join(lines).rstrip() + "\n"


def _latex(part: Paragraph | Items | Lines | Listing) -> str:
    if isinstance(part, Paragraph):
        return to_latex(part.text)
    if isinstance(part, Items):
        items = [rf"\item[{{{escape(item.term)}}}] {to_latex(item.text)}" for item in part.items]
        return "\n".join([r"\begin{description}\raggedright", *items, r"\end{description}"]) if items else ""
    if isinstance(part, Listing):
        lines = [rf"\noindent{_indent(line)}\texttt{{{escape(line)}}}\par" for line in part.lines]
        return "\n".join([r"{\footnotesize\raggedright\parskip=0pt", *lines, "}"])
    return _table(part)


def _indent(line: str) -> str:
    spaces = len(line) - len(line.lstrip(" "))
    return rf"\hspace*{{{0.5 * spaces:g}em}}" if spaces else ""


def _table(part: Lines) -> str:
    names, numbers = part.align.count("l"), part.align.count("r")
    share = min(0.3, (1 - 0.1 * numbers) / max(names, 1) - 0.03)
    left = rf">{{\raggedright\arraybackslash}}p{{{share:.2f}\linewidth}}"
    columns = "".join(left if side == "l" else "r" for side in part.align)
    head = " & ".join(escape(header) for header in part.headers) + r" \\"
    rows = [" & ".join(to_latex(cell) for cell in row) + r" \\" for row in part.rows]
    return "\n".join(
        [
            r"{\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
            rf"\toprule {head} \midrule\endhead",
            *rows,
            r"\bottomrule",
            r"\end{longtable}}",
        ]
    )


def _markdown(part: Paragraph | Items | Lines | Listing) -> str:
    if isinstance(part, Paragraph):
        return to_markdown(part.text)
    if isinstance(part, Items):
        return "\n".join(f"- **{to_markdown((item.term,))}**: {to_markdown(item.text)}" for item in part.items)
    if isinstance(part, Listing):
        longest = max((len(line) - len(line.lstrip("`")) for line in part.lines), default=0)
        fence = "`" * max(3, longest + 1)
        return "\n".join([fence, *part.lines, fence])
    head = [to_markdown((header,)) for header in part.headers]
    rule = ["---" if side == "l" else "---:" for side in part.align]
    rows = [[to_markdown(cell).replace("|", r"\|").replace(r"\\|", r"\|") for cell in row] for row in part.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])
