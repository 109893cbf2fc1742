"""FMN, the fast minimum-norm attack.

Pintor et al. 2021, Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints, arXiv:2102.12827.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen, per_image
from bench.attacks.ddn import cosine
from bench.attacks.losses import margin
from bench.attacks.minimum_norm import SURE, MinimumNormAttack, farthest, lengths
from bench.attacks.parameters import FMNParams
from bench.attacks.search_attack import Look
from bench.threat_models.l1 import shrunk

SHORT = 0.999
"""A point nearer than this share of its radius was kept there by the bounds."""


class Ball(NamedTuple):
    """What FMN needs to know about a norm.

    Attributes:
        dual: order q of the dual norm, which measures gradients.
        project: perturbations (B, C, H, W) and radii (B,) to the nearest perturbations inside.
    """

    dual: float
    project: Callable[[Tensor, Tensor], Tensor]


def _into_box(delta: Tensor, eps: Tensor) -> Tensor:
    bound = per_image(eps)
    return torch.minimum(torch.maximum(delta, -bound), bound)


def _into_sphere(delta: Tensor, eps: Tensor) -> Tensor:
    length = lengths(delta, 2)
    return delta * per_image(torch.where(length > eps, eps / length.clamp_min(1e-12), torch.ones_like(length)))


BALLS = {"linf": Ball(1, _into_box), "l2": Ball(2, _into_sphere), "l1": Ball(math.inf, shrunk)}


class FMN(MinimumNormAttack):
    """Gradient steps of the margin inside a ball whose radius follows the distance of the boundary."""

    norms: ClassVar[tuple[str, ...]] = tuple(BALLS)
    params: FMNParams

    @property
    def steps(self) -> int:
        """Gradient steps."""
        return self.params.steps

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The margin: the paper's loss (equation 4) with its sign turned round."""
        return (margin(logits, batch.y),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image, and no radius yet."""
        batch.x_adv = batch.x.clone()
        batch.state["farthest"] = farthest(batch, context)
        batch.state["eps"] = torch.full_like(batch.state["farthest"], math.inf)
        batch.state["best"] = torch.full_like(batch.state["farthest"], math.inf)

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """Algorithm 1: the radius, a step along the gradient of L2 length alpha, the ball of the new radius, the bounds."""
        ball = BALLS[context.threat_model.norm]
        batch.state["eps"] = self._radius(batch, seen, context.threat_model.distance(batch.x_adv, batch.x), ball)
        final = self.params.alpha_init / 100 if self.params.alpha_final is None else self.params.alpha_final
        alpha = cosine(batch.iteration, self.steps, self.params.alpha_init, final)
        length = lengths(seen.gradient, 2)
        move = seen.gradient * per_image(alpha / torch.where(length > 0, length, torch.ones_like(length)))
        delta = ball.project(batch.x_adv - batch.x + move, batch.state["eps"])
        batch.x_adv = (batch.x + delta).clamp(*context.threat_model.bounds)

    def _radius(self, batch: Batch, seen: Seen, distance: Tensor, ball: Ball) -> Tensor:
        """Lines 6 to 12: the linearised distance of the boundary until a success is known, then a little more or less.

        Args:
            batch: its ``best`` distances are updated.
            seen: what the pass showed.
            distance: of each point, shape (B,).
            ball: of the norm.
        """
        gamma = cosine(batch.iteration, self.steps, self.params.gamma_init, self.params.gamma_final)
        adversarial, eps = seen.margin > 0, batch.state["eps"]
        nearer = adversarial & (distance < batch.state["best"])
        best = batch.state["best"] = torch.where(nearer, distance, batch.state["best"])
        # Aimed at exactly, the boundary of a linear model would be approached from the inside for ever.
        short = seen.margin.abs() + 2 * SURE * seen.logits.abs().amax(1).clamp_min(1.0)
        boundary = distance + short / lengths(seen.gradient, ball.dual).clamp_min(1e-30)
        wider = eps * (1 + gamma)
        # Black and white pixels keep a point short of the radius, and a linearised distance from there never grows: where
        # they do, the radius widens until a success is known (the paper's doesn't).
        short_of_it = torch.isfinite(eps) & (distance < SHORT * eps)
        unknown = torch.where(short_of_it, torch.maximum(boundary, wider), boundary)
        outside = torch.where(torch.isinf(best), unknown, wider)
        new = torch.where(adversarial, torch.minimum(eps * (1 - gamma), best), outside)
        return torch.minimum(new, batch.state["farthest"])
