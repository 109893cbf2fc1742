"""What a run would do and cost, before it does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.errors import BenchError, StoreError
from bench.runner.corruption_plan import PlannedCorruption
from bench.runner.corruption_run import pending_samples, row_label
from bench.runner.devices import choose, describe
from bench.runner.judge import exact_arithmetic
from bench.runner.options import RunSettings
from bench.runner.passes import passes
from bench.runner.pending import examples_bytes, look, pending_shards, state
from bench.runner.preflight import Plan, PlannedCell, preflight
from bench.runner.recognised import Recognised
from bench.runner.worker import Worker
from bench.store.corrupted import CorruptionStore
from bench.store.run_directory import RunDirectory
from bench.suites.loaded import LoadedSuite
from bench.suites.references import members

CALIBRATION_IMAGES = 64
TO_TRAIN = "to train"
"""The state of cells whose model a run trains first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One cell of a plan.

    ``forwards`` and ``backwards`` are the most sample-passes it may spend, ``None`` where the attack doesn't tell;
    ``seconds`` those at the measured speed, ``None`` also where the model can't be had here.
    """

    label: str
    state: str
    samples: int
    forwards: float | None
    backwards: float | None
    seconds: float | None

    @property
    def duration(self) -> str:
        """For people."""
        return duration(self.seconds) if self.seconds is not None else "?"


@dataclass(frozen=True, slots=True)
class Outline:
    """A whole plan; ``untrained`` says which models a run trains first, and where to."""

    rows: tuple[Row, ...]
    bytes: int
    device: str
    directory: Path
    untrained: tuple[str, ...] = ()

    @property
    def done(self) -> int:
        """Cells with nothing left to do."""
        return sum(row.state == "done" for row in self.rows)

    @property
    def duration(self) -> str:
        """The sum of the times that are known."""
        return duration(sum(row.seconds or 0.0 for row in self.rows))


def duration(seconds: float) -> str:
    """A time for people: ``0 s``, ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(loaded: LoadedSuite, settings: RunSettings) -> Outline:
    """The plan of a suite: cells, what is done, the most passes, time and bytes.

    Args:
        loaded: the suite.
        settings: as for a run; nothing is downloaded if its places say so.
    """
    device = choose(settings.device)
    plan = preflight(loaded, settings.places)
    directory = RunDirectory(settings.directory(plan.suite.name))
    worker = Worker(plan.dataset, settings.places, device, settings.batch_size, calibration=plan.calibration)
    speeds: dict[str, tuple[float, float] | None] = {}
    recognised = Recognised(plan, directory)
    pending = look(plan, lambda planned, needed: _samples(plan, planned, directory, recognised, needed=needed))
    rows = []
    for planned in plan.cells:
        model, left = planned.cell.model.id, pending[planned.id]
        if left != 0 and model not in speeds:
            speeds[model] = None if planned.located is None else _speed(worker, planned)
        rows.append(_row(plan, planned, left, speeds[model] if left != 0 else (0.0, 0.0)))
    rows += _corrupted(plan, directory, worker, speeds)
    untrained = tuple(f"{one.model}: {one.text}" for one in plan.untrained)
    return Outline(tuple(rows), examples_bytes(plan), describe(device), directory.path, untrained)


def _corrupted(
    plan: Plan, directory: RunDirectory, worker: Worker, speeds: dict[str, tuple[float, float] | None]
) -> list[Row]:
    """The corruption cells of each model and defense on one line; the time is that of the passes, not of making images."""
    left = pending_samples(plan, CorruptionStore(directory))
    rows = []
    for cells in plan.corrupted.rows:
        first = cells[0]
        label, total = row_label(cells), len(cells) * len(plan.dataset)
        if first.unavailable or first.broken:
            rows.append(Row(label, without_model(plan, first), total, 0.0, 0.0, None))
            continue
        if first.cell.model.id not in speeds:
            speeds[first.cell.model.id] = _speed(worker, first)
        speed, samples = speeds[first.cell.model.id], sum(len(left[one.id]) for one in cells)
        networks = 1 + len(members(first.cell.defense))
        forwards = float(samples * networks * (first.cell.defense.scoring_draws or 1))
        rows.append(
            Row(label, state(samples, total), samples, forwards, 0.0, None if speed is None else forwards * speed[0])
        )
    return rows


def _samples(
    plan: Plan, planned: PlannedCell, directory: RunDirectory, recognised: Recognised, *, needed: bool
) -> int | None:
    """Samples that are still to evaluate; ``None`` where the cell's files are damaged."""
    try:
        shards = pending_shards(plan, planned, directory, recognised, needed=needed)
        return sum(len(shard.members) for shard in shards)
    except StoreError:
        return None


def _row(plan: Plan, planned: PlannedCell, samples: int | None, speed: tuple[float, float] | None) -> Row:
    label = planned.cell.label
    if planned.unavailable or planned.broken:
        return Row(label, without_model(plan, planned), len(plan.dataset), 0.0, 0.0, None)
    if samples is None:
        return Row(label, "damaged", len(plan.dataset), 0.0, 0.0, None)
    how_far = state(samples, len(plan.dataset))
    found = passes(planned.cell, plan.dataset.num_classes)
    if found is None:
        return Row(label, how_far, samples, None, None, None)
    forwards, backwards = found
    seconds = None if speed is None else samples * (forwards * speed[0] + backwards * speed[1])
    return Row(label, how_far, samples, samples * forwards, samples * backwards, seconds)


def without_model(plan: Plan, planned: PlannedCell | PlannedCorruption) -> str:
    """The state of a cell whose model or defense can't be had, or not yet.

    Args:
        plan: the suite.
        planned: a cell that is unavailable or broken.
    """
    if not planned.unavailable:
        return "error"
    awaited = {str(one.weights) for one in plan.untrained}
    return TO_TRAIN if planned.cell.model.weights in awaited else "unavailable"


def _speed(worker: Worker, planned: PlannedCell | PlannedCorruption) -> tuple[float, float] | None:
    """Seconds of one sample's forward and backward pass on the bare model, measured on real images."""
    try:
        model: Any = worker.model(planned.cell.model, planned.cell.norm)
    except BenchError:
        return None
    count = min(CALIBRATION_IMAGES, len(worker.dataset), worker.batch_size)
    x = worker.dataset.batch(range(count)).x.to(worker.device)
    with exact_arithmetic():
        _pass(model, x)
        forward, both = min(_pass(model, x) for _ in range(3))
    return forward / count, max(both - forward, 0.0) / count


def _pass(model: Any, x: torch.Tensor) -> tuple[float, float]:  # Any: a counted model
    """Seconds of a forward pass alone, and of a forward and backward pass."""
    started = _clock(x)
    with torch.no_grad():
        model(x)
    middle = _clock(x)
    point = x.clone().requires_grad_()
    torch.autograd.grad(model(point).sum(), point)
    return middle - started, _clock(x) - middle


def _clock(x: torch.Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
