"""AutoAttack: the ensemble of APGD, FAB and Square, each stage on what the earlier ones left robust.

Croce & Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks,
arXiv:2003.01690. The stages are our own, on the engine; the official code is ``backend: autoattack``.
"""

from __future__ import annotations

from typing import ClassVar

from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.ensemble import Ensemble
from bench.attacks.fab import FAB, TargetedFAB
from bench.attacks.parameters import (
    APGDParams,
    AutoAttackParams,
    FABParams,
    SquareParams,
    TargetedAPGDParams,
    TargetedFABParams,
)
from bench.attacks.search_attack import SearchAttack
from bench.attacks.square import Square

STAGES = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
RAND_EOT = 20
PLUS_RESTARTS = 5


class AutoAttack(Ensemble):
    """AutoAttack standard, plus, rand or custom."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    backends: ClassVar[dict[str, str]] = {"autoattack": "bench.attacks.backends.autoattack:ReferenceAutoAttack"}
    params: AutoAttackParams

    @property
    def names(self) -> tuple[str, ...]:
        """The stages, in order."""
        return STAGES[self.params.version] if self.params.version != "custom" else tuple(self.params.attacks or ())

    @property
    def stages(self) -> tuple[tuple[str, SearchAttack], ...]:
        """The stages with their attacks, in order."""
        return tuple((name, self._stage(name)) for name in self.names)

    def _stage(self, name: str) -> SearchAttack:
        eot = self.params.eot_iter or (RAND_EOT if self.params.version == "rand" else 1)
        restarts = PLUS_RESTARTS if self.params.version == "plus" else 1
        if name == "apgd-ce":
            return APGD(APGDParams(restarts=restarts, eot_iter=eot))
        if name == "apgd-dlr":
            return APGD(APGDParams(loss="dlr", restarts=restarts, eot_iter=eot))
        if name == "apgd-t":
            return TargetedAPGD(TargetedAPGDParams(eot_iter=eot))
        if name == "fab":
            return FAB(FABParams(restarts=restarts))
        if name == "fab-t":
            return TargetedFAB(TargetedFABParams())
        return Square(SquareParams(n_queries=self.params.n_queries, rescale_schedule=False))
