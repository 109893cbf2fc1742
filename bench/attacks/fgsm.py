"""FGSM, the fast gradient sign method.

Goodfellow et al. 2015, Explaining and Harnessing Adversarial Examples, arXiv:1412.6572; with a random start Wong et al.
2020, Fast is better than free, arXiv:2001.03994.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen
from bench.attacks.losses import LOSSES
from bench.attacks.parameters import FGSMParams
from bench.attacks.search_attack import Look, SearchAttack, ball_start


class FGSM(SearchAttack):
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

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """Cross-entropy or margin."""
        return (LOSSES[self.params.loss](logits, batch.y),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image, or a random point of the ball."""
        batch.x_adv = ball_start(batch, ids, context, random=self.params.random_start)

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """``x_adv + alpha * ascend(gradient)``, projected."""
        alpha = context.threat_model.radius if self.params.alpha is None else self.params.alpha
        moved = batch.x_adv + alpha * context.threat_model.ascend(seen.gradient)
        batch.x_adv = context.threat_model.project(moved, batch.x)
