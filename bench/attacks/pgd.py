"""PGD, projected gradient descent.

Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen
from bench.attacks.losses import LOSSES
from bench.attacks.parameters import PGDParams
from bench.attacks.search_attack import Look, SearchAttack, ball_start

DEFAULT_REACH = 2.5
"""The default steps together reach 2.5 eps, so that the boundary of the ball is met from any start (Madry's challenge)."""


class PGD(SearchAttack):
    """Steepest ascent of the loss, projected after every step, from random starts."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    backends: ClassVar[dict[str, str]] = {
        "foolbox": "bench.attacks.backends.foolbox:FoolboxPGD",
        "art": "bench.attacks.backends.art:ArtPGD",
    }
    any_layout: ClassVar[bool] = True
    params: PGDParams

    @property
    def steps(self) -> int:
        """Gradient steps of one restart."""
        return self.params.steps

    def runs(self, num_classes: int) -> int:
        """Independent starts."""
        return self.params.restarts

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """Cross-entropy or margin."""
        return (LOSSES[self.params.loss](logits, batch.y),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """A random point of the ball, or the clean image."""
        batch.x_adv = ball_start(batch, ids, context, random=self.params.random_start)
        box = context.threat_model.box(batch.x)
        if box is not None:
            batch.state["low"], batch.state["high"] = box

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """``x_adv + alpha_t * direction``, projected; alpha_t by the step rule."""
        move = self.direction(batch, seen, context).mul_(self.alpha(context.threat_model.radius))
        if self.params.step_rule == "cosine":
            factor = 0.5 * (1 + (batch.iteration * (math.pi / self.params.steps)).cos())
            move *= factor.to(move.dtype).view(-1, *[1] * (move.dim() - 1))
        batch.x_adv = projected(move.add_(batch.x_adv), batch, context)

    def alpha(self, radius: float) -> float:
        """The step size in [0, 1] units before the step rule."""
        return step_size(self.params, radius)

    def direction(self, batch: Batch, seen: Seen, context: AttackContext) -> Tensor:
        """The unit step, shape (B, C, H, W), the caller's own: along the steepest ascent of the loss."""
        return context.threat_model.ascend(seen.gradient)


def projected(points: Tensor, batch: Batch, context: AttackContext) -> Tensor:
    """Points inside the threat model; a box that the attack keeps (``low``, ``high``) saves work."""
    if "low" in batch.state:
        return points.clamp_(batch.state["low"], batch.state["high"])
    return context.threat_model.project(points, batch.x)


def step_size(params: PGDParams, radius: float) -> float:
    """alpha in [0, 1] units: as given, else such that all steps together reach 2.5 eps, each at most eps."""
    if params.alpha is not None:
        return params.alpha
    mean_factor = 0.5 if params.step_rule == "cosine" else 1.0
    return min(radius, DEFAULT_REACH * radius / (params.steps * mean_factor))
