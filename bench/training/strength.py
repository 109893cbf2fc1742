"""The strength of the training attack as a function of the place in the training; no state, so nothing to save."""

from __future__ import annotations

from bench.training.method_parameters import AdversarialParams
from bench.training.recipe import Recipe


def strength(recipe: Recipe, epochs_done: float) -> float:
    """The share of eps and alpha that the training attack has, 0 to 1.

    On MNIST at eps 0.3 the training stalls at chance level when the full radius is there from the first step.

    Args:
        recipe: the recipe.
        epochs_done: epochs before this step, a fraction within one.
    """
    warmup = recipe.method.eps_warmup if isinstance(recipe.method, AdversarialParams) else 0.0
    return min(1.0, epochs_done / warmup) if warmup else 1.0
