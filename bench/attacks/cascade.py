"""The cascade: an ensemble that asks the same questions as AutoAttack in fewer passes.

APGD on the margin, MALT's targeted APGD, targeted FAB, and Square as the check that needs no gradient. The budgets were
chosen first; docs/performance.md has the verdicts of both, image by image. Built from Croce & Hein 2020
(arXiv:2003.01690), Melamed et al. 2024 (arXiv:2407.02240) and Andriushchenko et al. 2020 (arXiv:1912.00049).
"""

from __future__ import annotations

from typing import ClassVar

from bench.attacks.apgd import APGD
from bench.attacks.ensemble import Ensemble
from bench.attacks.fab import TargetedFAB
from bench.attacks.malt import MALT
from bench.attacks.parameters import APGDParams, CascadeParams, MALTParams, SquareParams, TargetedFABParams
from bench.attacks.search_attack import SearchAttack
from bench.attacks.square import Square


class Cascade(Ensemble):
    """APGD on the margin, MALT, targeted FAB, Square."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    revision: ClassVar[int] = 2
    params: CascadeParams

    @property
    def stages(self) -> tuple[tuple[str, SearchAttack], ...]:
        """The stages with their attacks, in order."""
        steps, targets = self.params.steps, self.params.n_target_classes
        return (
            ("apgd-margin", APGD(APGDParams(steps=steps, loss="margin"))),
            ("malt", MALT(MALTParams(steps=steps, n_target_classes=targets))),
            ("fab-t", TargetedFAB(TargetedFABParams(steps=max(steps // 2, 1), n_target_classes=min(3, targets)))),
            ("square", Square(SquareParams(n_queries=self.params.n_queries))),
        )
