"""What a run tells while it goes on; the command line draws it, a notebook may ignore it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from bench.runner.executors.crew import WorkerLine
from bench.store.records import CellResult
from bench.suites.cells import Cell


class Progress(Protocol):
    """Hears how a run goes on."""

    def begin(self, cells: int, done: int, samples: int) -> None:
        """The run starts: cells in all, cells done already, samples still to evaluate."""

    def cell_started(self, cell: Cell, number: int, pending: int) -> None:
        """A cell starts: its number from 1, and its samples still to evaluate."""

    def attacking(self, finished: int, robust: int, stage: str = "") -> None:
        """Inside a shard: samples that the attack has finished with, samples still robust, the part of an ensemble at work."""

    def shard_done(self, samples: int, robust: int) -> None:
        """A shard is saved: its samples, and how many of them are robust."""

    def cell_done(self, result: CellResult) -> None:
        """A cell is finished, whatever its status."""

    def row_started(self, label: str, pending: int) -> None:
        """The corruption cells of a row start: what they are, and their samples still to evaluate."""

    def row_done(self, label: str, outcome: str, *, failed: bool) -> None:
        """They are finished: what they are, in a few words how, and whether one of them has no number."""

    def workers(self, lines: Sequence[WorkerLine]) -> None:
        """How the workers of several devices are doing, now and then."""

    def note(self, text: str) -> None:
        """Something worth a line."""

    def end(self) -> None:
        """Nothing more comes."""


class Silent:
    """Hears everything and says nothing."""

    def begin(self, cells: int, done: int, samples: int) -> None:
        """See :class:`Progress`."""

    def cell_started(self, cell: Cell, number: int, pending: int) -> None:
        """See :class:`Progress`."""

    def attacking(self, finished: int, robust: int, stage: str = "") -> None:
        """See :class:`Progress`."""

    def shard_done(self, samples: int, robust: int) -> None:
        """See :class:`Progress`."""

    def cell_done(self, result: CellResult) -> None:
        """See :class:`Progress`."""

    def row_started(self, label: str, pending: int) -> None:
        """See :class:`Progress`."""

    def row_done(self, label: str, outcome: str, *, failed: bool) -> None:
        """See :class:`Progress`."""

    def workers(self, lines: Sequence[WorkerLine]) -> None:
        """See :class:`Progress`."""

    def note(self, text: str) -> None:
        """See :class:`Progress`."""

    def end(self) -> None:
        """See :class:`Progress`."""
