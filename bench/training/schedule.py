"""The learning rate as a function of the place in the training; no state, so nothing to save."""

from __future__ import annotations

import math

from bench.training.parameters import Schedule

ONECYCLE_WARMUP = 0.3
"""Share of the training in which the one-cycle schedule rises (Smith and Topin 2018, arXiv:1708.07120)."""


_CYCLIC_WARMUP = 0.5
"""Share of a cycle in which the cyclic schedule rises: a symmetric triangle (Smith 2017, arXiv:1506.01186)."""


def factor(schedule: Schedule, step: int, total: int, epochs: int) -> float:
    """What the peak learning rate is multiplied with, 0 to 1.

    Args:
        schedule: the recipe's schedule.
        step: step of the whole training, 0 to total - 1.
        total: steps of the whole training.
        epochs: of the whole training.
    """
    rises = {"onecycle": ONECYCLE_WARMUP, "cyclic": _CYCLIC_WARMUP}
    warmup = rises.get(schedule.name, 0.0) if schedule.warmup is None else schedule.warmup
    if schedule.name == "cyclic":
        length = total / schedule.cycles
        return _triangle(step % length, length, warmup)
    if schedule.name == "onecycle":
        return _triangle(step, total, warmup)
    rising = warmup * total
    if step < rising:
        return min(1.0, (step + 1) / rising)
    if schedule.name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * ((step - rising) / (total - rising))))
    if schedule.name == "step":
        return schedule.gamma ** sum(step * epochs / total >= milestone for milestone in schedule.milestones)
    return 1.0


def _triangle(step: float, length: float, warmup: float) -> float:
    """Up in a straight line over a share of the length, and down again."""
    rising = warmup * length
    if step < rising:
        return min(1.0, (step + 1) / rising)
    return 1.0 - (step - rising) / (length - rising)
