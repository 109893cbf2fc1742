"""The leaderboard as LaTeX tables for papers, with booktabs."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from bench.leaderboard.audited import audit_line
from bench.leaderboard.corruption_grid import (
    BY_CORRUPTION,
    SEVERITY,
    by_corruption_grid,
    corruption_grid,
    corruption_heading,
    failures,
    severity_grid,
)
from bench.leaderboard.grid import Grid, Words, grid, heading, said
from bench.leaderboard.records import CorruptionTable, Leaderboard, Table, TransferMatrix
from bench.leaderboard.transfer_grid import (
    ABOUT,
    RATE,
    SUCCESS,
    rate_grid,
    success_grid,
    transfer_failures,
    transfer_heading,
)

# tabulate escapes what LaTeX would read as markup; our own markup passes through it as private characters.
_BOLD, _SUPER, _END, _AT_MOST, _MINUS, _AT_LEAST = "\ue000", "\ue001", "\ue002", "\ue003", "\ue004", "\ue005"
_MARKUP = {
    _BOLD: r"\textbf{",
    _SUPER: r"\textsuperscript{",
    _END: "}",
    _AT_MOST: r"$\leq$~",
    _AT_LEAST: r"$\geq$~",
    _MINUS: "$-$",
}
_SYMBOLS = {
    "–": "--",
    "—": "---",
    "·": r"\textperiodcentered{}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "ε": r"$\varepsilon$",
    "σ": r"$\sigma$",
    "→": r"$\to$",
    "…": r"\ldots{}",
    "⚑": r"\textsuperscript{*}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
}
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
}


def escape(text: str) -> str:
    """Text that LaTeX prints as it is.

    ASCII and Latin letters print under every engine (T1 fonts and UTF-8 input); other scripts need LuaLaTeX or XeLaTeX.
    """
    return "".join(_ESCAPED.get(char) or _SYMBOLS.get(char, char) for char in text)


def marked_up(tabular: str) -> str:
    """What tabulate made of texts in :data:`WORDS`, with our own markup in place of the private characters."""
    for char, markup in _MARKUP.items():
        tabular = tabular.replace(char, markup)
    return tabular


def _bold(text: str) -> str:
    return f"{_BOLD}{text}{_END}"


def _mark(numbers: Sequence[int]) -> str:
    return f"{_SUPER}{','.join(map(str, numbers))}{_END}"


WORDS = Words(bold=_bold, mark=_mark, dash="--", at_most=_AT_MOST, at_least=_AT_LEAST, minus=_MINUS)


def latex(board: Leaderboard) -> str:
    """One ``table`` environment per threat model, those of transferred examples, and those under common corruptions.

    The document needs ``\\usepackage[T1]{fontenc}`` and ``{booktabs}``.
    """
    head = (
        f"% {board.suite}, run {board.run}: made by bench report\n"
        "% needs \\usepackage[T1]{fontenc}, \\usepackage{booktabs} and, for wide tables, \\usepackage{graphicx}\n"
    )
    tables = [_table(board, table) for table in board.tables]
    tables += [table for matrix in board.transfers for table in _transfer(matrix)]
    if board.corruptions is not None:
        tables += _corruptions(board, board.corruptions)
    return head + "\n".join(tables)


def _table(board: Leaderboard, table: Table) -> str:
    caption = heading(board, table) + (f" · {board.note}" if board.note else "")
    lines = _float(grid(table, WORDS), caption.replace("⚑ see the notes", "superscripts: see the notes"))
    for note in table.notes:
        source = f" ({note.source})" if note.source else ""
        lines.append(_small(rf"\textsuperscript{{{note.number}}} " + escape(f"{said(note)} [{note.rule}]{source}")))
    lines.append(_small(escape(audit_line(board, table))))
    return "\n".join([*lines, r"\end{table}", ""])


def _float(drawn: Grid, caption: str) -> list[str]:
    """A ``table`` environment without its end."""
    tabular = tabulate(
        drawn.rows, headers=drawn.headers, tablefmt="latex_booktabs", disable_numparse=True, colalign=drawn.align
    )
    return [
        r"\begin{table}[htbp]",
        r"\centering",
        r"\caption{" + escape(caption) + "}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        marked_up(tabular).strip() + "}",
    ]


def _transfer(matrix: TransferMatrix) -> list[str]:
    """The examples of each model on every other, by one attack under one threat model: two tables."""
    found = ((SUCCESS, success_grid(matrix, WORDS)), (RATE, rate_grid(matrix, WORDS)))
    below = [_small(escape(line)) for line in transfer_failures(matrix)]
    return [
        "\n".join(
            [*_float(drawn, f"Transfer · {transfer_heading(matrix)} · {ABOUT}. {title}"), *below, r"\end{table}", ""]
        )
        for title, drawn in found
    ]


def _corruptions(board: Leaderboard, table: CorruptionTable) -> list[str]:
    """The tables under common corruptions."""
    by_severity = severity_grid(table, WORDS)
    found = [(corruption_heading(board, table), corruption_grid(table, WORDS))]
    found += [] if by_severity is None else [(SEVERITY, by_severity)]
    found.append((BY_CORRUPTION, by_corruption_grid(table, WORDS)))
    below = [[_small(escape(line)) for line in failures(table)], *([] for _ in found[1:])]
    return [
        "\n".join([*_float(drawn, caption), *lines, r"\end{table}", ""])
        for (caption, drawn), lines in zip(found, below, strict=True)
    ]


def _small(text: str) -> str:
    return rf"\par\smallskip{{\footnotesize\raggedright {text}\par}}"
