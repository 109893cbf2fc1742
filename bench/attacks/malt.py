"""MALT, mesoscopic almost-linear targeting: targeted APGD, with targets chosen as if the model were linear.

Melamed, Yehudai & Shamir 2024, MALT Powers Up Adversarial Attacks, arXiv:2407.02240.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.apgd import TargetedAPGD
from bench.attacks.batch import without_label
from bench.attacks.losses import target_margin
from bench.attacks.parameters import MALTParams

_TINY = 1e-12


class MALT(TargetedAPGD):
    """Targets by rising distance to their linearised boundary: the logit's gap over the length of its gradient."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    params: MALTParams

    def rank(self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, int]:
        """One backward pass for each candidate class; see :meth:`bench.attacks.search_attack.SearchAttack.rank`."""
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = model(x)
        order = logits.detach().argsort(dim=1, descending=True)
        others = without_label(order, y)
        candidates = others[:, : self.params.candidates]
        scores = []
        for number in range(candidates.shape[1]):
            with torch.enable_grad():
                gap = target_margin(logits, y, candidates[:, number])
            (gradient,) = torch.autograd.grad(gap.sum(), x, retain_graph=True)
            length = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
            scores.append(-gap.detach() / (length + _TINY))
        chosen = candidates.gather(1, torch.stack(scores, dim=1).argsort(dim=1, stable=True))
        rest = others[:, self.params.candidates :]
        return torch.cat([chosen, rest, y[:, None]], dim=1), candidates.shape[1]

    def passes(self, num_classes: int) -> tuple[float, float]:
        """Those of the targeted search, and one backward pass for each candidate."""
        forwards, backwards = super().passes(num_classes)
        return forwards, backwards + min(self.params.candidates, num_classes - 1)
