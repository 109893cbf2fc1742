"""FGSM, the fast gradient sign method.

Goodfellow et al. 2015, Explaining and Harnessing Adversarial Examples, arXiv:1412.6572; with a random start Wong et al.
2020, Fast is better than free, arXiv:2001.03994.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.attacks.base import AttackContext, Samples
from bench.attacks.engine import StepAttack, ball_start
from bench.attacks.losses import LOSSES, Loss
from bench.attacks.parameters import FGSMParams


class FGSM(StepAttack):
    """One step of length alpha (eps where it isn't given) along the steepest ascent of the loss."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    backends: ClassVar[dict[str, str]] = {
        "foolbox": "bench.attacks.backends.foolbox:FoolboxFGSM",
        "art": "bench.attacks.backends.art:ArtFGSM",
    }
    params: FGSMParams

    @property
    def steps(self) -> int:
        """One."""
        return 1

    @property
    def loss(self) -> Loss:
        """Cross-entropy or margin."""
        return LOSSES[self.params.loss]

    def start(self, samples: Samples, restarts: Tensor, context: AttackContext) -> Tensor:
        """The clean image, or a random point of the ball."""
        return ball_start(samples, restarts, context, random=self.params.random_start)

    def step(self, x_adv: Tensor, x: Tensor, gradient: Tensor, iteration: Tensor, context: AttackContext) -> Tensor:
        """``x_adv + alpha * ascend(gradient)``, projected."""
        alpha = context.threat_model.radius if self.params.alpha is None else self.params.alpha
        return context.threat_model.project(x_adv + alpha * context.threat_model.ascend(gradient), x)
