"""The strength of the training attack as a function of the place in the training; no state, so nothing to save."""

from __future__ import annotations

import math

from bench.training.recipe import Recipe

_LEVELS = 4


def strength(recipe: Recipe, epochs_done: float) -> float:
    """The share of eps and alpha that the training attack has, 0 to 1.

    On MNIST at eps 0.3 the training stalls at chance level when the full radius is there from the first step.

    Args:
        recipe: the recipe.
        epochs_done: epochs before this step, a fraction within one.
    """
    growth = recipe.growth
    if growth is None or epochs_done >= growth.epochs:
        return 1.0
    done = epochs_done / growth.epochs
    if growth.name == "step":
        levels = growth.steps or _LEVELS
        done = (math.floor(done * levels) + 1) / levels
    elif growth.name == "cosine":
        done = 0.5 * (1 - math.cos(math.pi * done))
    return growth.start + (1 - growth.start) * done
