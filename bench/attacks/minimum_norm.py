"""What the attacks that look for the smallest perturbation share.

The engine keeps each sample's adversarial point of smallest distance. When the search is over, a few forward passes
shorten that perturbation along its own line, which no step size could have met exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from bench.attacks.base import AttackContext, AttackResult, Samples, Target
from bench.attacks.batch import Batch, Seen, per_image
from bench.attacks.listener import nobody
from bench.attacks.losses import margin
from bench.attacks.search_attack import Look, SearchAttack

SURE = 1e-5
"""Margin, relative to the largest logit (at least 1), above which another batch shape doesn't turn a success around."""
UNSURE = 1.01
"""A success below that margin is kept only where every sure one is this much farther away."""
_ENDS = 2
"""The line search evaluates both ends of its line first."""
_CLOSED = 1e-3
"""The line search ends when its bracket is this narrow, relative to its far end."""
_AWAY = 0.02
"""The line search stays this far from the ends of its bracket, relative to its width."""


class LineSearchParams(Protocol):
    """Parameters of a minimum-norm attack."""

    @property
    def line_search(self) -> int:
        """Forward passes that shorten each perturbation along its line."""
        ...


class MinimumNormAttack(SearchAttack):
    """An attack on the engine that looks for the smallest perturbation."""

    minimum_norm: ClassVar[bool] = True
    params: LineSearchParams

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """The attack, then the line search; see :class:`bench.attacks.base.Attack`."""
        result = super().run(model, samples, context)
        if self.params.line_search and len(samples):
            _shorten(self, model, samples, context, result)
        return result

    def passes(self, num_classes: int) -> tuple[float, float]:
        """Those of the search, and the forward passes of the line search."""
        forwards, backwards = super().passes(num_classes)
        return forwards + line_passes(self.params), backwards


def line_passes(params: LineSearchParams) -> int:
    """The most forward passes that the line search spends on a sample."""
    return params.line_search + _ENDS if params.line_search else 0


def closeness(attack: SearchAttack, seen: Seen, distance: Tensor, radius: float) -> Tensor:
    """How good an adversarial point is, shape (B,), the higher the better: the nearer, if it is surely adversarial.

    A point on the hairline may be no success in another batch shape, so that a sure one that is hardly farther away is
    better, unless only the hairline point lies inside eps.

    Args:
        attack: its ``confidence`` is the margin that a point should have; those below come after all others.
        seen: what the pass showed at the points.
        distance: of the points, shape (B,).
        radius: eps in [0, 1] units.
    """
    unsure = UNSURE * distance
    unsure = torch.where(distance <= radius, unsure.clamp_max(radius), unsure)
    score = -torch.where(seen.margin > SURE * _scale(seen), distance, unsure)
    if attack.confidence > 0:
        score = torch.where(seen.margin >= attack.confidence, score, score - 1e4)
    return score


def leave(batch: Batch, attack: SearchAttack, rows: Tensor) -> None:
    """Ends the run of some samples, called from ``step``: their next points are not evaluated any more.

    Args:
        batch: the batch that steps.
        attack: its attack.
        rows: which samples, a mask of shape (B,).
    """
    batch.iteration = torch.where(rows, attack.steps, batch.iteration)
    batch.oldest = max(batch.oldest, attack.steps)


def lengths(delta: Tensor, order: float) -> Tensor:
    """The p-norm of each perturbation or gradient, shape (B,).

    Args:
        delta: shape (B, C, H, W).
        order: p, 1 to infinity.
    """
    length: Tensor = torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1)
    return length


def farthest(batch: Batch, context: AttackContext) -> Tensor:
    """The distance of each clean image from the farthest corner of the bounds, shape (B,)."""
    low, high = context.threat_model.bounds
    middle = (low + high) / 2
    return context.threat_model.distance(torch.where(batch.x > middle, low, high), batch.x)


def _scale(seen: Seen) -> Tensor:
    return seen.logits.abs().amax(1).clamp_min(1.0)


def _shorten(
    attack: MinimumNormAttack, model: Target, samples: Samples, context: AttackContext, result: AttackResult
) -> None:
    """Shortens the perturbations: all of them, or under ``first_success`` those beyond eps, which may come inside."""
    distance = context.threat_model.distance(result.x_adv, samples.x)
    rows = (distance > (context.threat_model.radius if context.search == "first_success" else 0.0)).nonzero().flatten()
    if not len(rows):
        return
    line = _Line(attack, result.x_adv[rows])
    # In float32: the line knows samples by their place, which a second search would change.
    found = line.run(model, samples.take(rows), replace(context.exact(), report=nobody))
    now = context.threat_model.distance(found.x_adv, samples.x[rows])
    shorter = (now > 0) & (now < distance[rows])
    result.x_adv[rows[shorter]] = found.x_adv[shorter]
    result.forwards[rows.cpu()] += found.forwards


class _Line(SearchAttack):
    """Looks for the boundary between a clean image and its adversarial point: the false position method (Illinois).

    The first two points are the ends; each later one lies where the straight line through the margins at the ends of the
    bracket is zero, with the margin of an end that stayed twice halved.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    minimum_norm: ClassVar[bool] = True
    uses_gradients: ClassVar[bool] = False

    def __init__(self, attack: MinimumNormAttack, ends: Tensor) -> None:
        super().__init__(attack.params)
        self.ends, self.kappa = ends, attack.confidence

    @property
    def steps(self) -> int:
        """Points after the first."""
        return int(self.params.line_search) + _ENDS - 1

    @property
    def confidence(self) -> float:
        """That of the attack."""
        return self.kappa

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The margin."""
        return (margin(logits, batch.y),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image."""
        zero = torch.zeros(len(batch), device=batch.x.device)
        batch.state = {
            "end": self.ends[batch.place],
            "share": zero,
            "near": zero.clone(),
            "far": zero + 1,
            "below": zero - 1,
            "above": zero + 1,
            "was_above": torch.ones_like(zero, dtype=torch.bool),
        }
        batch.x_adv = batch.x.clone()

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """The next share of the perturbation."""
        state = batch.state
        value = seen.margin - (2 * SURE * _scale(seen)).clamp_min(self.kappa)
        first, above = batch.iteration == 0, value > 0
        again = (above == state["was_above"]) & (batch.iteration >= _ENDS)
        state["near"] = torch.where(above, state["near"], state["share"])
        state["far"] = torch.where(above, state["share"], state["far"])
        state["below"] = torch.where(above, torch.where(again, state["below"] / 2, state["below"]), value)
        state["above"] = torch.where(above, value, torch.where(again, state["above"] / 2, state["above"]))
        state["was_above"] = above
        width = state["far"] - state["near"]
        weight = state["above"] / (state["above"] - state["below"])
        share = state["far"] - width * weight.clamp(_AWAY, 1 - _AWAY)
        share = torch.where(first, 1.0, share)
        failed = (batch.iteration == 1) & ~above
        leave(batch, self, failed | (~first & (width < _CLOSED * state["far"])))
        state["share"] = share
        batch.x_adv = (batch.x + per_image(share) * (state["end"] - batch.x)).clamp(*context.threat_model.bounds)
