"""Measures what a model behind its defense takes on a device, with the code that evaluates shards.

A shard whose examples are its own clean images costs what every shard costs beside its attack; a few steps of PGD and a few
queries of Square on top of that cost what their passes do, in the precision, at the batch size and with the draws (EOT),
surrogates (BPDA) and graphs of a run.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch

from bench.attacks.listener import nobody
from bench.runner.corruption_plan import PlannedCorruption
from bench.runner.devices import describe, search_precision
from bench.runner.evaluate import evaluate
from bench.runner.planning.peaks import kind_of
from bench.runner.planning.speeds import Calibration, Point, RowSpeed
from bench.runner.preflight import PlannedCell
from bench.runner.probing import variants
from bench.runner.provenance import now, version
from bench.runner.shards import Shard
from bench.runner.worker import Worker
from bench.store.parts import Examples
from bench.suites.cells import Cell, Defended, defense_content, digest
from bench.suites.spec import AttackSpec, RunOptions, ThreatModelSpec

STEPS = 10
QUERIES = {"cpu": 20, "cuda": 200}
"""By the type of the device: a GPU tries several points in a pass, the more the longer the search."""
REPEATS = 4
LONG = 1.0
"""Seconds after which a measurement isn't repeated."""
LONGEST = 20.0
"""Seconds after which even the first one counts, which warms up; and those that a measurement may be expected to take: with
more samples at once it isn't made."""

Planned = PlannedCell | PlannedCorruption


class _Took(NamedTuple):
    """One evaluation: its seconds, and the mean passes of its samples."""

    seconds: float
    steps: float
    queries: float


def row_key(planned: Planned, shape: Sequence[int]) -> str:
    """Hash of what a row's speed depends on beside the device.

    Args:
        planned: one of the row's cells.
        shape: of an image.
    """
    cell, located = planned.cell, planned.located
    return digest(
        {
            "weights": located.weights_digest if located else None,
            "architecture": located.architecture_digest if located else None,
            "defense": defense_content(cell.defense),
            "norm": cell.norm,
            "shape": list(shape),
            "precision": cell.precision if isinstance(cell, Cell) else "auto",
        }
    )


def label_of(cell: Defended) -> str:
    """A row for people: the model, and the defense where there is one."""
    return cell.model.id + ("" if cell.defense.name == "none" else f" + {cell.defense_id}")


def empty(device: torch.device) -> Calibration:
    """A calibration of a device of this machine, with nothing measured yet."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return Calibration(
        kind=kind_of(name) if device.type == "cuda" else device.type,
        device=describe(device),
        processor=name,
        torch=str(torch.__version__),
        bench=version("robustness-bench"),
        made=now(),
    )


def measure(worker: Worker, planned: Planned, most: int, asked: int | None = None) -> RowSpeed:
    """Measures one model behind its defense; whatever the model, the defense or the attack raises goes through.

    Args:
        worker: on the device; holds the images.
        planned: one of the row's cells.
        most: samples of the largest shard.
        asked: the batch size that the user asks for.
    """
    cell = _plain(planned)
    started = time.perf_counter()
    worker.target(cell)
    load = time.perf_counter() - started
    found = list[_Sized]()
    fills = worker.device.type == "cuda" and not worker.pinned
    full = min(worker.batch_size, len(worker.dataset)) if fills else most
    for size in sorted({1, max(1, most // 8), most, max(full, most)}):
        if found and found[-1].longest * size / found[-1].base.samples > LONGEST:
            break
        found.append(_sized(worker, cell, tuple(range(size))))
    return RowSpeed(
        key=row_key(planned, worker.dataset.shape),
        model=cell.model.id,
        defense=cell.defense_id,
        norm=cell.norm,
        precision=search_precision(cell.precision, worker.device),
        batch_size=worker.batch_size,
        asked=asked,
        wanted=most,
        fills=fills,
        load=load,
        warm=sum(one.warm for one in found),
        base=tuple(one.base for one in found),
        step=tuple(one.step for one in found),
        query=tuple(one.query for one in found),
    )


class _Sized(NamedTuple):
    """What was measured with one number of samples: ``longest`` is the longest time, ``warm`` what first ones took more."""

    base: Point
    step: Point
    query: Point
    longest: float
    warm: float


class _Times(NamedTuple):
    """Evaluations that counted, and by how much the one that warmed up was longer."""

    took: list[_Took]
    warm: float


def _sized(worker: Worker, cell: Cell, members: tuple[int, ...]) -> _Sized:
    beside = _times(lambda: _judged(worker, cell, members))
    base = _point(members, [one.seconds for one in beside.took])
    white_box = variants.source(cell.norm)
    attack = white_box.model_copy(update={"args": {**white_box.args, "steps": STEPS}})
    stepped = _times(lambda: _attacked(worker, cell, attack, members))
    free = variants.gradient_free(cell.norm, QUERIES.get(worker.device.type, QUERIES["cpu"]))
    asked = _Times([], 0.0) if free is None else _times(lambda: _attacked(worker, cell, free, members))
    # Without a gradient-free attack for the norm a question counts as a step: too much rather than too little.
    query = _point(members, [_rest(one, base) / one.queries for one in asked.took]) if asked.took else None
    each = 0.0 if query is None else query.middle
    step = _point(members, [max(_rest(one, base) - one.queries * each, 0.0) / one.steps for one in stepped.took])
    longest = max(one.seconds for times in (beside, stepped, asked) for one in times.took)
    return _Sized(base, step, query or step, longest, beside.warm + stepped.warm + asked.warm)


def _times(evaluation: Callable[[], _Took]) -> _Times:
    """The first one warms up (kernels are chosen, graphs recorded), the others count."""
    first = evaluation()
    if first.seconds > LONGEST:
        return _Times([first], 0.0)
    took = [evaluation()]
    while took[-1].seconds <= LONG and len(took) < REPEATS:
        took.append(evaluation())
    return _Times(took, max(first.seconds - fmean(one.seconds for one in took), 0.0))


def _rest(took: _Took, base: Point) -> float:
    """Seconds of the attack; where all is noise, at least a tenth of what the evaluation took."""
    return max(took.seconds - base.middle, took.seconds / 10)


def _point(members: tuple[int, ...], times: Sequence[float]) -> Point:
    return Point(samples=len(members), low=min(times), middle=fmean(times), high=max(times))


def _plain(planned: Planned) -> Cell:
    """A cell of the same row that attacks every sample to the end."""
    cell, own = planned.cell, planned.cell if isinstance(planned.cell, Cell) else None
    return Cell(
        role="suite",
        dataset=cell.dataset,
        model=cell.model,
        defense=cell.defense,
        threat_model=own.threat_model if own else ThreatModelSpec(norm="linf", eps=Fraction(8, 255)),
        attack=variants.source(own.norm if own else "linf"),
        adversary="adaptive",
        seed=cell.seed,
        search="strongest",
        precision=own.precision if own else RunOptions().precision,
    )


def _judged(worker: Worker, cell: Cell, members: tuple[int, ...]) -> _Took:
    """A shard that judges the clean images as if they were examples."""
    ids = tuple(worker.dataset.sample_ids[member] for member in members)
    images = worker.dataset.batch(range(len(members))).x.numpy()
    transferred = replace(cell, role="oblivious", adversary="oblivious")
    return _took(worker, Shard(transferred, "plan", 0, members, "none", Examples(ids, images)))


def _attacked(worker: Worker, cell: Cell, attack: AttackSpec, members: tuple[int, ...]) -> _Took:
    return _took(worker, Shard(replace(cell, attack=attack), "plan", 0, members, "none"))


def _took(worker: Worker, shard: Shard) -> _Took:
    report = evaluate(worker, shard, nobody).report
    count = report.samples
    return _Took(report.seconds, report.backwards / count, (report.forwards - report.backwards) / count)


def _processor() -> str:
    """The name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
