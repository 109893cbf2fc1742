"""DDN, decoupled direction and norm.

Rony et al. 2019, Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and Defenses,
arXiv:1811.09600.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen, per_image
from bench.attacks.losses import LOSSES
from bench.attacks.minimum_norm import MinimumNormAttack, farthest, lengths
from bench.attacks.parameters import DDNParams
from bench.attacks.search_attack import Look

ALPHA, FINAL_ALPHA = 1.0, 0.01
"""First and last step size in [0, 1] units, with cosine annealing between them (section 4 of the paper)."""


class DDN(MinimumNormAttack):
    """Gradient steps of the cross-entropy on a sphere that shrinks after a success and grows after a failure.

    Points are not rounded to grey levels, which the paper makes optional.
    """

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    params: DDNParams

    @property
    def steps(self) -> int:
        """Gradient steps."""
        return self.params.steps

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """Cross-entropy or margin."""
        return (LOSSES[self.params.loss](logits, batch.y),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image, and the first radius."""
        batch.x_adv = batch.x.clone()
        batch.state["farthest"] = farthest(batch, context)
        batch.state["eps"] = torch.full_like(batch.state["farthest"], self.params.init_eps)

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """Algorithm 1: a step along the gradient, then the sphere of the new radius, then the bounds."""
        alpha = cosine(batch.iteration, self.steps, ALPHA, FINAL_ALPHA)
        delta = batch.x_adv - batch.x + per_image(alpha) * context.threat_model.ascend(seen.gradient)
        factor = torch.where(seen.margin > 0, 1 - self.params.gamma, 1 + self.params.gamma)
        batch.state["eps"] = torch.minimum(batch.state["eps"] * factor, batch.state["farthest"])
        length = lengths(delta, 2)
        delta *= per_image(batch.state["eps"] / torch.where(length > 0, length, torch.ones_like(length)))
        batch.x_adv = (batch.x + delta).clamp(*context.threat_model.bounds)


def cosine(iteration: Tensor, steps: int, first: float, last: float) -> Tensor:
    """Cosine annealing from the first value towards the last over the steps, shape (B,).

    Args:
        iteration: of each sample, from 0, shape (B,).
        steps: of a run.
        first: value at iteration 0.
        last: value at iteration ``steps``.
    """
    return last + (first - last) * (1 + (iteration * (math.pi / steps)).cos()) / 2
