"""What rounding may decide: kernels of other batch shapes and machines differ in the last bits of the logits.

Two logits that lie within the hairline of each other may change places, and nothing else may. From that follows for every
sample which verdicts are possible: those recorded must be among them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.attacks.memory import in_pieces
from bench.models.noise import mixed
from bench.runner.judge import Scoring

HAIRLINE = 1e-4
"""Relative to the largest logit, and to 1: what two passes may differ by (:data:`bench.runner.probe.REPEATABLE`)."""
_SCALE_IMAGES = 32


class Range(NamedTuple):
    """The least and the most that a share of the draws can be, shape (N,) each."""

    low: Tensor
    high: Tensor

    def holds(self, value: Tensor) -> Tensor:
        """Whether a recorded share is possible, shape (N,), bool."""
        return (value >= self.low - 1e-9) & (value <= self.high + 1e-9)


class Possible(NamedTuple):
    """What a model may say of N images, rounding apart; for one that isn't stochastic shares are 0 or 1."""

    classes: Tensor
    """whether each class can be the predicted one, shape (N, K), bool"""
    right: Range
    wrong: Range
    even: Range
    """``wrong`` by the draws of even number"""
    odd: Range
    rejected: Range

    def predicted(self, classes: Tensor) -> Tensor:
        """Whether these classes, shape (N,), int64, can be the predicted ones, shape (N,), bool."""
        known = (classes >= 0) & (classes < self.classes.shape[1])
        return known & self.classes.gather(1, classes.clamp(0, self.classes.shape[1] - 1)[:, None]).squeeze(1)

    def correct(self, verdict: Tensor) -> Tensor:
        """Whether these verdicts, that most draws give the label and accept, are possible, shape (N,), bool."""
        return _majority(self.right, verdict)

    def fooled(self, verdict: Tensor) -> Tensor:
        """The same of: that most draws give another class and accept."""
        return _majority(self.wrong, verdict)

    def rejects(self, verdict: Tensor) -> Tensor:
        """The same of: that at least half of the draws reject."""
        half = 0.5 - 1e-9
        return torch.where(verdict, self.rejected.high > half, self.rejected.low <= half)


def _majority(share: Range, verdict: Tensor) -> Tensor:
    return torch.where(verdict, share.high > 0.5, share.low <= 0.5)


def tolerance(target: Any, x: Tensor, scoring: Scoring | None) -> float:  # Any: a counted or defended model
    """How far two logits may lie apart and still change places by rounding.

    Args:
        target: images to logits.
        x: clean images, shape (N, C, H, W); the first 32 tell how large its logits are.
        scoring: the draws of a stochastic model.
    """
    some = scoring.take(torch.arange(min(len(x), _SCALE_IMAGES))) if scoring is not None else None
    values = _values(target, x[:_SCALE_IMAGES], _SCALE_IMAGES, some, 0)[:, : target.num_classes]
    return HAIRLINE * max(1.0, float(values.abs().max()))


def possible(
    target: Any, x: Tensor, y: Tensor, batch_size: int, scoring: Scoring | None, hairline: float
) -> Possible:  # Any: as above
    """What a model may say of images.

    Args:
        target: images to logits.
        x: shape (N, C, H, W).
        y: labels, shape (N,).
        batch_size: the most images of one pass.
        scoring: the draws of a stochastic model.
        hairline: see :func:`tolerance`.
    """
    k, label = target.num_classes, y.cpu()[:, None]
    draws = 1 if scoring is None else scoring.draws
    can_right, must_right, can_wrong, must_wrong, can_reject, must_reject = (
        torch.zeros(draws, len(x)) for _ in range(6)
    )
    most, least = torch.zeros(len(x), k), torch.zeros(len(x), k)
    for draw in range(draws):
        values = _values(target, x, batch_size, scoring, draw)
        classes = values[:, :k]
        top = classes.amax(1, keepdim=True)
        near = classes >= top - hairline
        alone = near & (near.sum(1, keepdim=True) == 1)
        above = values[:, k] - top.squeeze(1) if target.rejects else torch.full((len(x),), -torch.inf)
        may, must = above > -hairline, above > hairline
        right, others = near.gather(1, label).squeeze(1), near.scatter(1, label, False).any(1)
        can_right[draw], must_right[draw] = right & ~must, right & ~others & ~may
        can_wrong[draw], must_wrong[draw] = others & ~must, ~right & ~may
        can_reject[draw], must_reject[draw] = may, must
        most += near
        least += alone
    even_low, even_high = must_wrong[0::2], can_wrong[0::2]
    odd_low, odd_high = (must_wrong[1::2], can_wrong[1::2]) if draws > 1 else (must_wrong, can_wrong)
    return Possible(
        most >= least.amax(1, keepdim=True).clamp_min(1),
        _range(must_right, can_right),
        _range(must_wrong, can_wrong),
        _range(even_low, even_high),
        _range(odd_low, odd_high),
        _range(must_reject, can_reject),
    )


def _range(low: Tensor, high: Tensor) -> Range:
    return Range(low.double().mean(0), high.double().mean(0))


def _values(target: Any, x: Tensor, batch_size: int, scoring: Scoring | None, draw: int) -> Tensor:  # Any: as above
    """Logits on the CPU, shape (N, K), or (N, K + 1) where the model may reject."""
    keys = None if scoring is None else mixed(scoring.keys, draw)
    return torch.cat(in_pieces(target, x, batch_size, keys)).float().cpu()
