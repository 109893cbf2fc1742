"""PGD, projected gradient descent.

Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083.
"""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from bench.attacks.base import AttackContext, Samples
from bench.attacks.engine import StepAttack, ball_start
from bench.attacks.losses import LOSSES, Loss
from bench.attacks.parameters import PGDParams

DEFAULT_REACH = 2.5
"""The default steps together reach 2.5 eps, so that the boundary of the ball is met from any start (Madry's challenge)."""


class PGD(StepAttack):
    """Steepest ascent of the loss, projected after every step, from random starts."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    backends: ClassVar[dict[str, str]] = {
        "foolbox": "bench.attacks.backends.foolbox:FoolboxPGD",
        "art": "bench.attacks.backends.art:ArtPGD",
    }
    params: PGDParams

    @property
    def steps(self) -> int:
        """Gradient steps of one restart."""
        return self.params.steps

    @property
    def restarts(self) -> int:
        """Independent starts."""
        return self.params.restarts

    @property
    def loss(self) -> Loss:
        """Cross-entropy or margin."""
        return LOSSES[self.params.loss]

    def start(self, samples: Samples, restarts: Tensor, context: AttackContext) -> Tensor:
        """A random point of the ball, or the clean image."""
        return ball_start(samples, restarts, context, random=self.params.random_start)

    def step(self, x_adv: Tensor, x: Tensor, gradient: Tensor, iteration: Tensor, context: AttackContext) -> Tensor:
        """``x_adv + alpha_t * ascend(gradient)``, projected; alpha_t by the step rule."""
        alpha = step_size(self.params, context.threat_model.radius)
        move = alpha * context.threat_model.ascend(gradient)
        if self.params.step_rule == "cosine":
            factor = 0.5 * (1 + (iteration * (math.pi / self.params.steps)).cos())
            move = move * factor.to(move.dtype).view(-1, *[1] * (move.dim() - 1))
        return context.threat_model.project(x_adv + move, x)


def step_size(params: PGDParams, radius: float) -> float:
    """alpha in [0, 1] units: as given, else such that all steps together reach 2.5 eps, each at most eps."""
    if params.alpha is not None:
        return params.alpha
    mean_factor = 0.5 if params.step_rule == "cosine" else 1.0
    return min(radius, DEFAULT_REACH * radius / (params.steps * mean_factor))
