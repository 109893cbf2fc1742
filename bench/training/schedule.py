"""The learning rate as a function of the place in the training; no state, so nothing to save."""

from __future__ import annotations

import math

from bench.training.parameters import Schedule

ONECYCLE_WARMUP = 0.3
"""Share of the training in which the one-cycle schedule rises (Smith and Topin 2018, arXiv:1708.07120)."""


def factor(schedule: Schedule, step: int, total: int) -> float:
    """What the peak learning rate is multiplied with, 0 to 1.

    Args:
        schedule: the recipe's schedule.
        step: step of the whole training, 0 to total - 1.
        total: steps of the whole training.
    """
    warmup = schedule.warmup
    if warmup is None:
        warmup = ONECYCLE_WARMUP if schedule.name == "onecycle" else 0.0
    rising = warmup * total
    if step < rising:
        return min(1.0, (step + 1) / rising)
    done = (step - rising) / (total - rising)
    if schedule.name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0 - done if schedule.name == "onecycle" else 1.0
