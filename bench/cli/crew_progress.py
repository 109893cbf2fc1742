"""Progress of a run on several devices: many cells at once, and how each worker is doing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from bench.cli.progress import QUIET_SECONDS, Live, Plain, duration
from bench.store.recorded import recorded_cell
from bench.suites.cells import Cell

if TYPE_CHECKING:
    from bench.runner.executors.crew import WorkerLine
    from bench.store.records import CellResult

SHOWN = 24
"""Workers in the live table; more are counted."""


class _Begun(NamedTuple):
    number: int
    pending: int
    clock: float


class PlainCrew(Plain):
    """One line per cell, and one on the workers now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: dict[str, _Begun] = {}

    def cell_started(self, cell: Cell, number: int, pending: int) -> None:
        """Remembers when, for each of the cells that are evaluated at once."""
        self.begun[cell.label] = _Begun(number, pending, time.monotonic())

    def row_started(self, label: str, pending: int) -> None:
        """The same."""
        self.begun[label] = _Begun(self.cells, pending, time.monotonic())

    def row_done(self, label: str, outcome: str, *, failed: bool) -> None:
        """The line of a row."""
        self.label, (_, self.pending, self.cell_clock) = label, self.begun.pop(label)
        super().row_done(label, outcome, failed=failed)

    def shard_done(self, samples: int, robust: int) -> None:
        """Counts towards the run."""
        self.evaluated += samples

    def cell_done(self, result: CellResult) -> None:
        """The line of a cell."""
        label = _label(result)
        if label in self.begun:
            self.label, (self.number, self.pending, self.cell_clock) = label, self.begun.pop(label)
            self.announced = True
        super().cell_done(result)

    def workers(self, lines: Sequence[WorkerLine]) -> None:
        """How many do what, and which has been at its shard for the longest."""
        if time.monotonic() - self.last <= QUIET_SECONDS:
            return
        slowest = max((one for one in lines if one.samples), key=lambda one: one.seconds, default=None)
        text = f"{_counted(lines)}; {self.evaluated} of {self.samples} sample evaluations saved"
        if slowest is not None:
            text += f"; longest at it: {slowest.place}: {slowest.state}, {duration(slowest.seconds)}"
        self._line(text)


class LiveCrew(Live):
    """The bar of the run at the foot of the terminal, and a table of workers above it."""

    def cell_started(self, cell: Cell, number: int, pending: int) -> None:
        """The table says what is evaluated."""

    def row_started(self, label: str, pending: int) -> None:
        """The table says what is evaluated."""

    def row_done(self, label: str, outcome: str, *, failed: bool) -> None:
        """Leaves a line behind."""
        self._tell(f"{label}: {outcome}", "red" if failed else None)

    def cell_done(self, result: CellResult) -> None:
        """Leaves a line behind."""
        self._tell(f"{_label(result)}: {self.outcome(result)}", None if result.status == "done" else "red")
        self.done += 1
        self._redraw()

    def workers(self, lines: Sequence[WorkerLine]) -> None:
        """Draws the table anew."""
        from rich.table import Table

        table = Table("worker", "device", "evaluates", "samples", "for", "shards", box=None, pad_edge=False)
        for one in lines[:SHOWN]:
            samples = f"{one.finished}/{one.samples}" if one.samples else ""
            table.add_row(one.place, one.device, one.state, samples, duration(one.seconds), str(one.done))
        if len(lines) > SHOWN:
            table.add_row(f"and {_counted(lines[SHOWN:])}")
        self.bars.above = table
        self._redraw()


def _counted(lines: Sequence[WorkerLine]) -> str:
    """``8 workers: 7 evaluating, 1 starting``."""
    states = Counter("evaluating" if one.samples else one.state for one in lines)
    said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"{len(lines)} worker{'s' * (len(lines) != 1)}{': ' + said if said else ''}"


def _label(result: CellResult) -> str:
    """The label of a record's cell."""
    return recorded_cell(result, "").label
