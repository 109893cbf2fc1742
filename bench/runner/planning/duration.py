"""From speeds and spending to the seconds of a shard."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bench.runner.planning.speeds import Bound, FloatArray, Point, RowSpeed, seconds
from bench.runner.planning.spending import Kind, Spending, Weights, weights
from bench.store.parts import ShardReport

EVIDENCE = 1.0
"""Seconds that known shards must have taken in all, before what they took corrects what was expected of them."""
WARM = 30.0
"""The same on a GPU, whose first passes alone take seconds, where they took longer than was expected."""


def shard_seconds(speed: RowSpeed, spending: Spending, samples: int, pending: int, bound: Bound) -> float:
    """Seconds that a shard is expected to take.

    The batch shrinks as samples are broken: each pass takes what a pass with the samples that are left takes.

    Args:
        speed: of the device.
        spending: of the cell.
        samples: of the shard.
        pending: samples of the cell that are still to evaluate.
        bound: low, middle or high.
    """
    whole = np.array([float(samples)])
    each = (
        float(seconds(speed.step, whole, bound)[0]) / samples,
        float(seconds(speed.query, whole, bound)[0]) / samples,
    )
    mixture = weights(spending, pending, bound, each)
    base = float(seconds(speed.base, whole, bound)[0])
    abreast = spending.abreast if speed.fills else 1.0
    steps = _passes(speed.step, spending.steps, mixture, samples, bound, abreast)
    return base + steps + _passes(speed.query, spending.queries, mixture, samples, bound, 1.0)


def _passes(
    points: tuple[Point, ...], kind: Kind, mixture: Weights, samples: int, bound: Bound, abreast: float
) -> float:
    """Seconds of all passes of one kind: those with as many samples left take the same time."""
    least = min(kind.budget, 1.0)
    edges = np.unique(np.concatenate([[0.0, least, kind.budget], kind.taken]))
    starts, lengths = edges[:-1], np.diff(edges)
    left: FloatArray = samples * (
        mixture.observed * kind.alive(starts)
        + mixture.budget * (starts < kind.budget)
        + mixture.nothing * (starts < least)
    )
    there = left > 1e-9
    return float((lengths[there] / abreast * seconds(points, left[there] * abreast, bound)).sum())


def correction(speed: RowSpeed, spending: Spending, device: str) -> float | None:
    """What known shards took on the same device, over what was to be expected; ``None`` where too little is known.

    It holds what no pass of PGD or Square tells: the work of this attack beside its passes.

    Args:
        speed: of the device.
        spending: with the reports of those shards.
        device: as reports name it.
    """
    reports = [
        one
        for one in spending.reports
        if one.device == device and {*one.precisions} <= {speed.precision, "tf32", "float32"}
    ]
    took = sum(report.seconds for report in reports)
    if took < EVIDENCE:
        return None
    found = took / _expected(speed, spending, reports)
    return min(found, 1.0) if device.startswith("cuda") and took < WARM else found


def _expected(speed: RowSpeed, spending: Spending, reports: Iterable[ShardReport]) -> float:
    return sum(
        shard_seconds(speed, spending, report.samples, report.samples, "middle") for report in reports if report.samples
    )
