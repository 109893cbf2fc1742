"""MI-FGSM, the momentum iterative fast gradient sign method.

Dong et al. 2018, Boosting Adversarial Attacks with Momentum, arXiv:1710.06081.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen
from bench.attacks.parameters import MIFGSMParams, PGDParams
from bench.attacks.pgd import PGD


class MIFGSM(PGD):
    """PGD from the clean image along a decaying sum of the gradients, each scaled to an L1 norm of 1.

    Args:
        params: the number of steps, their size and the decay ``mu``.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    backends: ClassVar[dict[str, str]] = {}

    def __init__(self, params: MIFGSMParams) -> None:
        super().__init__(PGDParams(steps=params.steps, alpha=params.alpha, random_start=False))
        self.mu = params.mu

    def alpha(self, radius: float) -> float:
        """The step size in [0, 1] units: as given, else eps / steps as in the paper."""
        return radius / self.steps if self.params.alpha is None else self.params.alpha

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image, without momentum."""
        super().begin(batch, ids, context)
        batch.state["momentum"] = torch.zeros_like(batch.x)

    def direction(self, batch: Batch, seen: Seen, context: AttackContext) -> Tensor:
        """The steepest ascent along ``g = mu * g + gradient / ||gradient||_1`` (equation 6)."""
        batch.state["momentum"] = self.mu * batch.state["momentum"] + _unit_l1(seen.gradient)
        return context.threat_model.ascend(batch.state["momentum"])


def _unit_l1(gradient: Tensor) -> Tensor:
    """The gradient at L1 norm 1, scaled by its largest entry first so that a tiny one counts; zero stays zero."""
    largest = gradient.abs().amax((1, 2, 3), keepdim=True)
    scaled = gradient / torch.where(largest > 0, largest, torch.ones_like(largest))
    return scaled / scaled.abs().sum((1, 2, 3), keepdim=True).clamp_min(1.0)
