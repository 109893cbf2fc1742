"""AutoAttack: the ensemble of APGD, FAB and Square, each stage on what the earlier ones left robust.

Croce & Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks,
arXiv:2003.01690. The stages are our own, on the engine; the official code is ``backend: autoattack``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.apgd_l1 import L1APGD, TargetedL1APGD
from bench.attacks.base import Attack
from bench.attacks.ensemble import STAGES, Ensemble
from bench.attacks.fab import FAB, TargetedFAB
from bench.attacks.parameters import (
    APGDParams,
    AutoAttackParams,
    FABParams,
    SquareParams,
    TargetedAPGDParams,
    TargetedFABParams,
)
from bench.attacks.square import Square

RAND_EOT = 20
PLUS_RESTARTS = 5
L1_RESTARTS = 5
L1_TARGETS = 5


class AutoAttack(Ensemble):
    """AutoAttack standard, plus, rand or custom."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    backends: ClassVar[dict[str, str]] = {"autoattack": "bench.attacks.backends.autoattack:ReferenceAutoAttack"}
    revision: ClassVar[int] = 2
    params: AutoAttackParams

    @classmethod
    def create(cls, params: Any, *, norm: str, backend: str | None) -> Attack:  # Any: as in the base class
        """The ensemble; under L1 that of Croce & Hein 2021, arXiv:2103.01208."""
        if norm == "l1" and backend not in cls.backends:
            return L1AutoAttack(params)
        return super().create(params, norm=norm, backend=backend)

    @property
    def names(self) -> tuple[str, ...]:
        """The stages, in order."""
        return STAGES[self.params.version] if self.params.version != "custom" else tuple(self.params.attacks or ())

    @property
    def stages(self) -> tuple[tuple[str, Attack], ...]:
        """The stages with their attacks, in order."""
        return tuple((name, self._stage(name)) for name in self.names)

    def _stage(self, name: str) -> Attack:
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


class L1AutoAttack(AutoAttack):
    """Under L1: L1-APGD from five starts, and towards five targets (Croce & Hein 2021, arXiv:2103.01208)."""

    norms: ClassVar[tuple[str, ...]] = ("l1",)
    revision: ClassVar[int] = 3

    def _stage(self, name: str) -> Attack:
        version = self.params.version
        eot = self.params.eot_iter or (RAND_EOT if version == "rand" else 1)
        restarts = 1 if version == "rand" else L1_RESTARTS
        if name == "apgd-ce":
            return L1APGD(APGDParams(restarts=restarts, eot_iter=eot))
        if name == "apgd-dlr":
            return L1APGD(APGDParams(loss="dlr", restarts=restarts, eot_iter=eot))
        if name == "apgd-t":
            targets = TargetedAPGDParams().n_target_classes if version == "plus" else L1_TARGETS
            return TargetedL1APGD(TargetedAPGDParams(n_target_classes=targets, eot_iter=eot))
        return super()._stage(name)
