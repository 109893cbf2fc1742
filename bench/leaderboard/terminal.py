"""The leaderboard for a terminal: aligned plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

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
from bench.leaderboard.grid import BREAKERS, RESTORED, Detail, Grid, Words, breakers, grid, heading, restorations, said
from bench.leaderboard.records import CorruptionTable, Leaderboard, Table, TransferMatrix
from bench.leaderboard.transfer_grid import ABOUT, BOTH, short_grid, transfer_failures, transfer_heading

_LESS_AND_LESS = (
    Detail(),
    Detail(attacks=False),
    Detail(attacks=False, clean=False),
    Detail(attacks=False, clean=False, seeds=False),
)


_NAMES = 3
"""Rank, model and defense stand at the left of every block."""
_GAP = "  "


def plain(board: Leaderboard, width: int = 120) -> str:
    """The tables as plain text.

    Intervals are left out, those of the attacks first, until a table fits; the worst case keeps its own, and no number
    is ever cut. A table that still doesn't fit is split into several with the same rows.

    Args:
        board: the leaderboard.
        width: columns of the terminal.
    """
    parts = [_table(board, table, max(width, 40)) for table in board.tables]
    if board.agreement:
        from bench.leaderboard.agreement import AGREEMENT, agreement_grid, by_threat_model  # slow to import

        parts.append(_wrapped(AGREEMENT, max(width, 40)))
        for threat_model, lines in by_threat_model(board.agreement):
            parts.append(f"{threat_model}\n{_split(agreement_grid(lines, Words()), max(width, 40), names=4)}")
    if board.transfers:
        parts.append(_transfers(board.transfers, max(width, 40)))
    if board.corruptions is not None:
        parts.append(_corruptions(board, board.corruptions, max(width, 40)))
    return "\n\n".join(parts) + "\n"


def _table(board: Leaderboard, table: Table, width: int) -> str:
    parts = [_wrapped(heading(board, table), width)]
    if board.note:
        parts.append(_wrapped(f"Note: {board.note}", width))
    parts.append(_fitted(table, width))
    for title, found in ((BREAKERS, breakers(table, Words())), (RESTORED, restorations(table, Words()))):
        if found is not None:
            blocks = _blocks(_columns(found), width, names=2)
            parts += ["", _wrapped(title, width), "\n\n".join(_draw(block) for block in blocks)]
    if any(row.broken for row in table.rows):
        parts.append("")
    for note in table.notes:
        source = f" ({note.source})" if note.source else ""
        parts.append(_wrapped(f"⚑{note.number} {said(note)} [{note.rule}]{source}", width, indent="   "))
    parts.append(_wrapped(audit_line(board, table), width, indent="   "))
    return "\n".join(parts)


def _transfers(matrices: Sequence[TransferMatrix], width: int) -> str:
    parts = [_wrapped(f"Transfer · {ABOUT} · {BOTH}", width)]
    for matrix in matrices:
        parts += ["", _wrapped(transfer_heading(matrix), width), _split(short_grid(matrix, Words()), width, names=1)]
        parts += [_wrapped(line, width, indent="   ") for line in transfer_failures(matrix)]
    return "\n".join(parts)


def _corruptions(board: Leaderboard, table: CorruptionTable, width: int) -> str:
    parts = [_wrapped(corruption_heading(board, table), width), _split(corruption_grid(table, Words()), width, names=2)]
    by_severity = severity_grid(table, Words())
    if by_severity is not None:
        parts += ["", _wrapped(SEVERITY, width), _split(by_severity, width, names=2)]
    parts += ["", _wrapped(BY_CORRUPTION, width), _split(by_corruption_grid(table, Words()), width, names=1)]
    return "\n".join([*parts, *(_wrapped(line, width, indent="   ") for line in failures(table))])


def _split(drawn: Grid, width: int, names: int) -> str:
    return "\n\n".join(_draw(block) for block in _blocks(_columns(drawn), width, names))


def _fitted(table: Table, width: int) -> str:
    for detail in _LESS_AND_LESS:
        columns = _columns(grid(table, Words(), detail))
        if _width(columns) <= width:
            return _draw(columns)
    return "\n\n".join(_draw(block) for block in _blocks(columns, width))


def _columns(drawn: Grid) -> list[list[str]]:
    """Each column as texts of one width, its header first."""
    columns = [[header, *(row[index] for row in drawn.rows)] for index, header in enumerate(drawn.headers)]
    padded = []
    for side, column in zip(drawn.align, map(_marks_aligned, columns), strict=True):
        longest = max(map(len, column))
        padded.append([text.ljust(longest) if side == "left" else text.rjust(longest) for text in column])
    return padded


def _marks_aligned(column: list[str]) -> list[str]:
    """Blanks where other rows have a mark, so that the numbers stay below each other."""
    split = [text.partition(" ⚑") for text in column]
    longest = max(len(flag + numbers) for _, flag, numbers in split)
    return [number + (flag + numbers).ljust(longest) for number, flag, numbers in split]


def _blocks(columns: list[list[str]], width: int, names: int = _NAMES) -> list[list[list[str]]]:
    """The columns in several tables below each other, each beginning with those that name a row."""
    first, blocks = columns[:names], [list(columns[:names])]
    for column in columns[names:]:
        if len(blocks[-1]) > names and _width([*blocks[-1], column]) > width:
            blocks.append(list(first))
        blocks[-1].append(column)
    return blocks


def _width(columns: list[list[str]]) -> int:
    return sum(len(column[0]) for column in columns) + len(_GAP) * (len(columns) - 1)


def _draw(columns: list[list[str]]) -> str:
    return "\n".join(_GAP.join(line).rstrip() for line in zip(*columns, strict=True))


def _wrapped(line: str, width: int, indent: str = "") -> str:
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
