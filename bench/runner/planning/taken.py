"""What a run took, beside what it had been expected to take."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from bench.errors import SchemaError, StoreError
from bench.runner.options import RunSettings
from bench.runner.planning import files
from bench.runner.planning.record import CellForecast, Forecast, Range, total
from bench.store.corrupted import CorruptedReport, CorruptionStore
from bench.store.parts import ShardReport
from bench.store.run_directory import RunDirectory


class CellTaken(BaseModel):
    """A cell that was planned and is finished since; times are seconds of devices."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    expected: Range
    taken: float


class Comparison(BaseModel):
    """What was expected of a run, and what it took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    planned: str
    """when the plan was made, in UTC"""
    devices: str
    """for which devices"""
    on: tuple[str, ...]
    """where it ran"""
    cells: tuple[CellTaken, ...]
    left: int
    """planned cells that aren't finished"""
    wall: Range | None
    """expected from the first shard to the end of the last; ``None`` where no single run did all that was planned"""
    wall_taken: float | None

    @property
    def expected(self) -> Range:
        """Of the finished cells together."""
        return total([cell.expected for cell in self.cells])

    @property
    def taken(self) -> float:
        """By the finished cells together."""
        return sum(cell.taken for cell in self.cells)


class Spent(NamedTuple):
    """What the rows of some cells took so far."""

    seconds: float
    samples: int
    devices: frozenset[str]


def spent(directory: RunDirectory, corrupted: CorruptionStore, cells: Iterable[str]) -> Spent:
    """Sums up the reports of attack or corruption cells; damaged ones count as nothing.

    Args:
        directory: the run.
        corrupted: its corruption cells.
        cells: their ids.
    """
    seconds, samples, devices = 0.0, 0, set[str]()
    for cell in cells:
        try:
            reports: list[ShardReport | CorruptedReport] = [
                *directory.read_reports(cell),
                *corrupted.read(cell).reports,
            ]
            for report in reports:
                seconds, samples = seconds + report.seconds, samples + report.samples
                devices.add(report.device)
        except SchemaError:
            raise
        except StoreError:
            continue
    return Spent(seconds, samples, frozenset(devices))


def keep(path: Path, found: Forecast) -> None:
    """Writes a forecast; of cells that are finished an older one stays, as there is nothing new to expect of them.

    Args:
        path: where forecasts of the run are kept.
        found: the new one.

    Raises:
        WriteError: where it can't be written.
    """
    older = _older(path)
    said = {cell.cells: cell for cell in older.cells if cell.samples} if older else {}
    cells = tuple(cell if cell.samples else said.get(cell.cells, cell) for cell in found.cells)
    files.write(path, found.model_copy(update={"cells": cells}))


def compare(settings: RunSettings, suite: str) -> Comparison | None:
    """What the last plan of a run expected, and what was taken since; ``None`` where there was none.

    Args:
        settings: where results lie, and the run.
        suite: its name.
    """
    said = _older(files.forecast_path(settings.results, suite, settings.run))
    if said is None:
        return None
    directory = RunDirectory(settings.directory(suite))
    corrupted = CorruptionStore(directory)
    finished, left, devices = list[CellTaken](), 0, set[str]()
    for cell in said.cells:
        if not cell.samples or cell.seconds is None:
            continue
        so_far = spent(directory, corrupted, cell.cells)
        if so_far.samples - cell.evaluated < cell.samples:
            left += 1
            continue
        devices |= so_far.devices
        finished.append(CellTaken(label=cell.label, expected=cell.seconds, taken=so_far.seconds - cell.before))
    wall = None if left or not finished else _wall(directory, said)
    return Comparison(
        planned=said.made,
        devices=",".join(f"{one.count}x{one.kind}" for one in said.devices),
        on=tuple(sorted(devices)),
        cells=tuple(finished),
        left=left,
        wall=None if wall is None else said.wall,
        wall_taken=wall,
    )


def _older(path: Path) -> Forecast | None:
    try:
        return files.read(path, Forecast) if path.is_file() else None
    except SchemaError:
        raise
    except StoreError:  # a damaged forecast is none
        return None


def _wall(directory: RunDirectory, said: Forecast) -> float | None:
    """Seconds of the run that did all that was planned; ``None`` where it took several, or isn't over."""
    try:
        run = directory.read_run()
        ends = [_end(directory, cell) for cell in said.cells if cell.samples]
    except StoreError:
        return None
    if run.finished is None or run.started < said.made or any(end < run.started for end in ends):
        return None
    return (datetime.fromisoformat(run.finished) - datetime.fromisoformat(run.started)).total_seconds()


def _end(directory: RunDirectory, cell: CellForecast) -> str:
    """When the record of an attack cell was written; corruption cells come last in every run."""
    found = directory.read_cell(cell.cells[0])
    return "9999" if found is None else str(found.provenance.get("finished", ""))
