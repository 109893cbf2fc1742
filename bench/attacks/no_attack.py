"""No attack at all: what a certificate's cell runs."""

from __future__ import annotations

from typing import ClassVar

from bench.attacks.base import Attack, AttackContext, AttackResult, Samples, Target


class NoAttack(Attack):
    """Leaves every image as it is: what a certificate's cell runs."""

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    joint: ClassVar[bool] = True

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """The clean images, at no cost."""
        return AttackResult.untouched(samples)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """None."""
        return 0.0, 0.0
