"""Matrices as tables whose cells are shaded by their number: transferred examples, and corruptions by severity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.leaderboard.corruption_grid import (
    BY_CORRUPTION,
    SEVERITY,
    by_corruption_grid,
    corruption_grid,
    corruption_heading,
    failures,
    severity_grid,
)
from bench.leaderboard.grid import Grid
from bench.leaderboard.records import CorruptionRow, CorruptionTable, Leaderboard, TransferMatrix, TransferSquare
from bench.leaderboard.transfer_grid import RATE, SUCCESS, transfer_failures, transfer_heading
from bench.report.tables import DASH, PLAIN, STATUS, Shown, label, number
from bench.store.records import Estimate

_SHADES = 10
"""Of the style: ``s0`` at 0 %, ``s9`` at 100 %."""
MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Shaded:
    """One cell: what it shows, the class of its shade (empty where it has no number), and how many images it is of."""

    shown: Shown
    shade: str
    of: str = ""


@dataclass(frozen=True, slots=True)
class HeatLine:
    """One line of a matrix."""

    name: str
    cells: tuple[Shaded, ...]


@dataclass(frozen=True, slots=True)
class Heat:
    """One matrix: its title, the head of the names, and those of the columns."""

    title: str
    corner: str
    heads: tuple[str, ...]
    lines: tuple[HeatLine, ...]


@dataclass(frozen=True, slots=True)
class TransferPart:
    """The matrices under one threat model and attack, and why numbers are missing."""

    title: str
    matrices: tuple[tuple[str, Heat], ...]
    """what its numbers are, and the matrix"""
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CorruptionPart:
    """Everything under common corruptions."""

    heading: str
    means: Grid
    more: tuple[tuple[str, Grid], ...]
    """further tables and what they show"""
    matrices: tuple[Heat, ...]
    failures: tuple[str, ...]


def transfer_parts(board: Leaderboard) -> list[TransferPart]:
    """The matrices of transferred examples, by threat model and attack."""
    return [
        TransferPart(
            transfer_heading(matrix),
            ((SUCCESS, _crossed(matrix, "Attack success", _success)), (RATE, _crossed(matrix, "Transfer rate", _rate))),
            tuple(transfer_failures(matrix)),
        )
        for matrix in board.transfers
    ]


def corruption_part(board: Leaderboard) -> CorruptionPart | None:
    """The tables under common corruptions; ``None`` where the suite has none."""
    table = board.corruptions
    if table is None:
        return None
    by_severity = severity_grid(table, PLAIN)
    more = [] if by_severity is None else [(SEVERITY, by_severity)]
    more.append((BY_CORRUPTION, by_corruption_grid(table, PLAIN)))
    return CorruptionPart(
        corruption_heading(board, table).removeprefix("Common corruptions · "),
        corruption_grid(table, PLAIN),
        tuple(more),
        tuple(_corrupted(table, row) for row in table.rows),
        tuple(failures(table)),
    )


# -- transferred examples ----------------------------------------------------------------------------------------------


def _crossed(matrix: TransferMatrix, what: str, cell: Callable[[TransferSquare], Shaded]) -> Heat:
    def shaded(source: str, target: str) -> Shaded:
        square = matrix.squares.get(source, {}).get(target)
        if square is None:
            return _word(DASH)
        return cell(square) if square.status == "done" else _word(STATUS.get(square.status, square.status))

    return Heat(
        f"{what}, {transfer_heading(matrix)}",
        "source",
        matrix.targets,
        tuple(
            HeatLine(source, tuple(shaded(source, target) for target in matrix.targets)) for source in matrix.sources
        ),
    )


def _success(square: TransferSquare) -> Shaded:
    return _counted(square.success, best=square.own)


def _rate(square: TransferSquare) -> Shaded:
    return _word(DASH) if square.own else _counted(square.rate)


def _counted(estimate: Estimate | None, *, best: bool = False) -> Shaded:
    return _shaded(estimate, best=best, of="" if estimate is None else f"of {estimate.n:,}")


# -- corruptions -------------------------------------------------------------------------------------------------------


def _corrupted(table: CorruptionTable, row: CorruptionRow) -> Heat:
    """A line per corruption, a column per severity, and the means at their ends."""
    lines = [
        HeatLine(kind.replace("_", " "), tuple(_of_kind(table, row.cells.get(kind, {}), row.by_corruption.get(kind))))
        for kind in table.corruptions
    ]
    if len(table.shared) > 1:
        lines.append(HeatLine(MEAN, tuple(_of_kind(table, row.by_severity, row.accuracy))))
    return Heat(label(row), "corruption / severity", (*map(str, table.severities), MEAN), tuple(lines))


def _of_kind(table: CorruptionTable, found: dict[int, Estimate], mean: Estimate | None) -> Iterator[Shaded]:
    for severity in table.severities:
        estimate = found.get(severity)
        yield _shaded(None if estimate is None else Estimate(value=estimate.value, n=estimate.n))
    yield _shaded(mean)


def _shaded(estimate: Estimate | None, *, best: bool = False, of: str = "") -> Shaded:
    shown = number(estimate, best=best)
    if estimate is None or estimate.value is None:
        return Shaded(shown, "", of)
    return Shaded(shown, f"s{min(_SHADES - 1, int(_SHADES * estimate.value))}", of)


def _word(text: str) -> Shaded:
    return Shaded(Shown(text, word=True), "")
