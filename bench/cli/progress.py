"""Progress of a run: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from bench.runner.events import Silent

if TYPE_CHECKING:
    from bench.runner.events import Progress
    from bench.store.records import CellResult
    from bench.suites.cells import Cell

QUIET_SECONDS = 20.0
"""Plain lines inside a long cell come at most this often."""


def make_progress(executor: str = "local") -> Progress:
    """The one that fits standard error, and one device or several.

    Args:
        executor: local or ray.
    """
    if executor != "local":
        from bench.cli.crew_progress import LiveCrew, PlainCrew

        return LiveCrew() if sys.stderr.isatty() else PlainCrew()
    return Live() if sys.stderr.isatty() else Plain()


def duration(seconds: float) -> str:
    """For people: ``45 s``, ``2 min 05 s``, ``3 h 07 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


class _Counted(Silent):
    """What both kinds count."""

    def __init__(self) -> None:
        self.cells = self.done = self.samples = self.evaluated = self.number = 0
        self.robust = self.of = 0
        self.pending = 0
        self.started = time.monotonic()
        self.label = ""
        self.word = "robust"

    def begin(self, cells: int, done: int, samples: int) -> None:
        """Starts the clock."""
        self.cells, self.done, self.samples = cells, done, samples
        self.started = time.monotonic()

    def cell_started(self, cell: Cell, number: int, pending: int) -> None:
        """A new cell's robust accuracy starts from nothing."""
        self.label, self.number, self.pending = cell.label, number, pending
        self.robust = self.of = 0
        self.word = "robust"

    def row_started(self, label: str, pending: int) -> None:
        """The same of a row under corruptions: what counts there is right, not robust."""
        self.label, self.number, self.pending = label, self.cells, pending
        self.robust = self.of = 0
        self.word = "right"

    def shard_done(self, samples: int, robust: int) -> None:
        """Counts towards the cell and the run."""
        self.evaluated += samples
        self.of += samples
        self.robust += robust

    @property
    def speed(self) -> float:
        """Samples per second so far."""
        return self.evaluated / max(time.monotonic() - self.started, 1e-9)

    @property
    def left(self) -> str:
        """The time that the rest takes at this speed: a rough guess, as cells cost differently."""
        if not self.evaluated:
            return "?"
        return duration((self.samples - self.evaluated) / self.speed)

    @staticmethod
    def outcome(result: CellResult) -> str:
        """How a cell ended, in a few words."""
        if result.status != "done":
            return f"{result.status}: {result.reason}"
        robust = result.metrics.get("robust_accuracy")
        value = f"{100 * robust.value:.1f} % robust" if robust is not None and robust.value is not None else "done"
        flags = sum(flag.severity != "info" for flag in result.flags)
        return value + (f", {flags} flags" if flags else "")


class Plain(_Counted):
    """One line per cell, and one now and then inside long ones."""

    def __init__(self) -> None:
        super().__init__()
        self.last = time.monotonic()
        self.cell_clock = time.monotonic()
        self.announced = False

    def begin(self, cells: int, done: int, samples: int) -> None:
        """Says what lies ahead."""
        super().begin(cells, done, samples)
        self._line(f"{cells} cell{'' if cells == 1 else 's'}, {done} done already; {samples} sample evaluations ahead")

    def cell_started(self, cell: Cell, number: int, pending: int) -> None:
        """Remembers when."""
        super().cell_started(cell, number, pending)
        self.cell_clock, self.announced = time.monotonic(), True

    def row_started(self, label: str, pending: int) -> None:
        """Remembers when."""
        super().row_started(label, pending)
        self.cell_clock = time.monotonic()

    def row_done(self, label: str, outcome: str, *, failed: bool) -> None:
        """The line of a row, where anything was done."""
        if self.pending or failed:
            self._line(f"{label}: {outcome} ({duration(time.monotonic() - self.cell_clock)})")

    def attacking(self, finished: int, robust: int, stage: str = "") -> None:
        """A sign of life inside a long attack."""
        if time.monotonic() - self.last > QUIET_SECONDS:
            self._line(
                f"[{self.number}/{self.cells}] {self.label}: {self.of} of {self.pending} saved, "
                f"{robust} {self.word} in this shard{f', in {stage}' if stage else ''} "
                f"({duration(time.monotonic() - self.cell_clock)})"
            )

    def shard_done(self, samples: int, robust: int) -> None:
        """A line now and then."""
        super().shard_done(samples, robust)
        if self.of < self.pending and time.monotonic() - self.last > QUIET_SECONDS:
            share = 100 * self.robust / self.of
            self._line(
                f"[{self.number}/{self.cells}] {self.label}: {self.of} of {self.pending} saved, "
                f"{share:.1f} % {self.word} so far"
            )

    def cell_done(self, result: CellResult) -> None:
        """The line of a cell."""
        self.done += self.announced
        if not self.announced and result.status == "done":
            return
        seconds = f" ({duration(time.monotonic() - self.cell_clock)})" if self.announced else ""
        number = f"[{self.number}/{self.cells}] " if self.announced else ""
        label = self.label if self.announced else result.cell
        pace = (
            f"; {self.speed:.1f} samples/s, about {self.left} left"
            if self.announced and self.evaluated < self.samples
            else ""
        )
        self._line(f"{number}{label}: {self.outcome(result)}{seconds}{pace}")
        self.announced = False

    def note(self, text: str) -> None:
        """As it is."""
        self._line(text)

    def _line(self, text: str) -> None:
        self.last = time.monotonic()
        with suppress(OSError):  # a full disk behind a log, or a reader that left, is no reason to stop a run
            print(text, file=sys.stderr, flush=True)


class Live(_Counted):
    """Two bars at the foot of the terminal, a line above them for each finished cell."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console, RenderableType
        from rich.progress import BarColumn, Progress, TextColumn

        class Bars(Progress):
            """The bars, and what stands above them."""

            above: RenderableType | None = None

            def get_renderables(self) -> Iterator[RenderableType]:
                if self.above is not None:
                    yield self.above
                yield from super().get_renderables()

        self.console = Console(stderr=True, highlight=False)
        self.bars = Bars(
            TextColumn("{task.fields[head]}", markup=False),
            BarColumn(24),
            TextColumn("{task.fields[tail]}", markup=False),
            console=self.console,
            transient=True,
        )
        self.whole = self.bars.add_task("", head="", tail="", total=1)
        self.inner = self.bars.add_task("", head="", tail="", total=1, visible=False)
        self.active = False
        self.shard_finished, self.stage = 0, ""

    def begin(self, cells: int, done: int, samples: int) -> None:
        """Shows the bars."""
        super().begin(cells, done, samples)
        self.bars.start()
        self._redraw()

    def cell_started(self, cell: Cell, number: int, pending: int) -> None:
        """Starts the inner bar."""
        super().cell_started(cell, number, pending)
        self.active, self.shard_finished, self.stage = True, 0, ""
        self._redraw()

    def row_started(self, label: str, pending: int) -> None:
        """Starts the inner bar."""
        super().row_started(label, pending)
        self.active, self.shard_finished, self.stage = True, 0, ""
        self._redraw()

    def row_done(self, label: str, outcome: str, *, failed: bool) -> None:
        """Leaves a line behind."""
        if self.pending or failed:
            self._tell(f"{label}: {outcome}", "red" if failed else None)
        self.active = False
        self._redraw()

    def attacking(self, finished: int, robust: int, stage: str = "") -> None:
        """Moves the inner bar."""
        self.shard_finished, self.stage = finished, stage
        self._redraw()

    def shard_done(self, samples: int, robust: int) -> None:
        """Moves both bars."""
        super().shard_done(samples, robust)
        self.shard_finished, self.stage = 0, ""
        self._redraw()

    def cell_done(self, result: CellResult) -> None:
        """Leaves a line behind."""
        if self.active or result.status != "done":
            label = self.label if self.active else result.cell
            style = None if result.status == "done" else "red"
            self._tell(f"{label}: {self.outcome(result)}", style)
        self.done += self.active
        self.active = False
        self._redraw()

    def note(self, text: str) -> None:
        """As it is."""
        self._tell(text)

    def end(self) -> None:
        """Takes the bars away."""
        with suppress(OSError):
            self.bars.stop()

    def _tell(self, text: str, style: str | None = None) -> None:
        with suppress(OSError):  # as above: a terminal that went away
            self.console.print(text, markup=False, style=style)

    def _redraw(self) -> None:
        tail = f"{self.done}/{self.cells} cells · {self.speed:.1f} samples/s · about {self.left} left"
        self.bars.update(self.whole, head="suite", tail=tail, total=max(self.samples, 1), completed=self.evaluated)
        robust = f"{100 * self.robust / self.of:.1f} % {self.word} so far" if self.of else ""
        tail = " · ".join(filter(None, (self.stage, robust)))
        self.bars.update(
            self.inner,
            head=self.label,
            tail=tail,
            total=max(self.pending, 1),
            completed=self.of + self.shard_finished,
            visible=self.active,
        )
