"""Averages of the weights over a training."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from bench.training.recipe import Recipe

_RAMP = 10
"""The running average forgets faster in its first updates: its decay is at most (1 + t) / (10 + t)."""
_DECAY, _SWA_START = 0.999, 0.75
STATISTICS = 5120
"""Images from which the statistics of batch norm are taken for a running average, after each epoch."""


def follow(average: nn.Module, model: nn.Module, decay: float, update: int) -> None:
    """Moves a running average towards the weights; counters and statistics of layers are copied, until :func:`settle`.

    Args:
        average: of the same architecture.
        model: with the weights after this update.
        decay: of the recipe.
        update: updates of the weights before this one.
    """
    with torch.no_grad():
        share = 1 - min(decay, (1 + update) / (_RAMP + update))
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), share)
        for was, now in zip(average.buffers(), model.buffers(), strict=True):
            was.copy_(now)


def settle(average: nn.Module, batches: Iterable[Tensor]) -> None:
    """Takes the statistics of batch norm anew, for the averaged weights: those of the running ones don't fit them.

    Args:
        average: a running average.
        batches: training images, shape (N, C, H, W).
    """
    swa_utils.update_bn(batches, average)
    average.eval()


def decay(recipe: Recipe) -> float | None:
    """The decay of the recipe's running average; ``None`` where it has none."""
    said = recipe.averaging
    if said is None or said.name != "ema":
        return None
    return _DECAY if said.decay is None else said.decay


def counts(recipe: Recipe, epoch: int) -> int | None:
    """How many weights stochastic weight averaging has seen before those after this epoch; ``None`` where they don't count.

    Args:
        recipe: the recipe.
        epoch: epochs done.
    """
    said = recipe.averaging
    if said is None or said.name != "swa":
        return None
    first = max(1, int(_SWA_START * recipe.epochs if said.start is None else said.start) + 1)
    return epoch - first if epoch >= first else None


def include(average: nn.Module, model: nn.Module, seen: int | None, batches: Iterable[Tensor]) -> None:
    """Takes the weights into the mean (Izmailov et al. 2018, arXiv:1803.05407), and the statistics of batch norm anew.

    Args:
        average: the mean of the weights before.
        model: with the new weights.
        seen: how many weights the mean holds; ``None`` where these don't count yet: the average is then a copy of them.
        batches: training images, shape (N, C, H, W), that the statistics are taken from.
    """
    if seen is None:
        average.load_state_dict(model.state_dict())
        return
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 / (seen + 1))
    settle(average, batches)
