"""FAB, the fast adaptive boundary attack: a minimum-norm attack that walks along the decision boundary.

Croce & Hein 2020, Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, arXiv:1907.02044.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.apgd import targets
from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen, flat, on_cpu, per_image, unflat, without_label
from bench.attacks.hyperplane import to_hyperplane
from bench.attacks.losses import target_margin
from bench.attacks.parameters import FABParams, TargetedFABParams
from bench.attacks.search_attack import Look, SearchAttack, generators

ORDER = {"linf": math.inf, "l2": 2.0, "l1": 1.0}
DUAL = {"linf": 1.0, "l2": 2.0, "l1": math.inf}
"""Order of the dual norm, which measures gradients."""


class FAB(SearchAttack):
    """Steps to the nearest linearised boundary, biased towards the clean image, with a step back after each success.

    Every iteration takes one gradient for each other class and one further forward pass.
    """

    norms: ClassVar[tuple[str, ...]] = tuple(DUAL)
    any_layout: ClassVar[bool] = True
    minimum_norm: ClassVar[bool] = True
    last_look: ClassVar[bool] = False
    fine: ClassVar[bool] = True  # it walks along the boundary, where margins are small
    revision: ClassVar[int] = 2
    params: FABParams

    @property
    def steps(self) -> int:
        """Iterations of one run."""
        return self.params.steps

    def runs(self, num_classes: int) -> int:
        """Starts."""
        return self.params.restarts

    def restart(self, batch: Batch) -> Tensor:
        """Which start each sample is at, from 0, shape (B,)."""
        return batch.run

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """Every other class's logit minus the label's."""
        classes = torch.arange(logits.shape[1], device=logits.device).expand_as(logits)
        others = without_label(classes, batch.y)
        return tuple(target_margin(logits, batch.y, others[:, number]) for number in range(others.shape[1]))

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image; later starts lie at half of eps in a random direction."""
        batch.state = {}
        batch.x_adv = batch.x.clone()
        later = self.restart(batch) > 0
        if bool(later.any()):
            deltas = context.threat_model.random_directions(batch.x.shape[1:], generators(batch, ids, context))
            moved = (batch.x + 0.5 * deltas.to(batch.x)).clamp(*context.threat_model.bounds)
            batch.x_adv = torch.where(per_image(later), moved, batch.x)

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """Projects the point and the clean image onto the linearised boundary, mixes both, and looks there."""
        norm, bounds = context.threat_model.norm, context.threat_model.bounds
        value, weight = nearest(seen, norm, batch.x)
        x, x_adv = flat(batch.x, batch.x), flat(batch.x_adv, batch.x)
        at_x = value + (x - x_adv).mul_(weight).sum(1)
        if on_cpu(x):
            to_x_adv = to_hyperplane(x_adv, weight, value, norm, bounds)
            to_x = to_hyperplane(x, weight, at_x, norm, bounds)
        else:  # half as many kernels, of twice the size
            both, values = torch.cat([x_adv, x]), torch.cat([value, at_x])
            to_x_adv, to_x = to_hyperplane(both, weight.repeat(2, 1), values, norm, bounds).chunk(2)
        a, b = _length(to_x_adv, norm).clamp_min(1e-8), _length(to_x, norm).clamp_min(1e-8)
        alpha = (a / (a + b)).clamp_max(self.params.alpha_max)[:, None]
        eta = self.params.eta
        there = torch.lerp(x_adv.add(to_x_adv, alpha=eta), x.add(to_x, alpha=eta), alpha).clamp_(*bounds)
        there = unflat(there, batch.x)
        broken = look(there).margin > 0
        batch.x_adv = torch.lerp(batch.x, there, per_image(torch.where(broken, self.params.beta, 1.0)))

    def passes(self, num_classes: int) -> tuple[float, float]:
        """Two forward passes and K - 1 backward passes for each iteration."""
        forwards, backwards = super().passes(num_classes)
        return 2 * forwards, backwards * (num_classes - 1)


class TargetedFAB(FAB):
    """FAB towards one class after the other: one gradient for each iteration, whatever the number of classes."""

    chooses_targets: ClassVar[bool] = True
    params: TargetedFABParams

    def runs(self, num_classes: int) -> int:
        """Targets times starts."""
        return min(self.params.n_target_classes, num_classes - 1) * self.params.restarts

    def restart(self, batch: Batch) -> Tensor:
        """Which start of its target each sample is at."""
        return batch.run % self.params.restarts

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The target's logit minus the label's."""
        return (target_margin(logits, batch.y, batch.state["target"]),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """As FAB, with a target for each sample."""
        super().begin(batch, ids, context)
        batch.state["target"] = targets(batch, batch.run // self.params.restarts)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """Two forward passes and one backward pass for each iteration."""
        forwards, backwards = SearchAttack.passes(self, num_classes)
        ranking = 1
        return 2 * (forwards - ranking) + ranking, backwards


def nearest(seen: Seen, norm: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """The linearised boundary that is nearest in the norm: its values, shape (B,), and its normals as :func:`flat` rows.

    Args:
        seen: what a pass showed.
        norm: of the distance.
        x: images of the batch.
    """
    gradients = [flat(gradient, x) for gradient in seen.gradients]
    if len(gradients) == 1:
        return seen.loss, gradients[0]
    dual = [torch.linalg.vector_norm(gradient, ord=DUAL[norm], dim=1) for gradient in gradients]
    distances = torch.stack([loss.abs() / (d + 1e-12) for loss, d in zip(seen.losses, dual, strict=True)])
    chosen = distances.argmin(0)
    rows = torch.arange(len(chosen), device=chosen.device)
    return torch.stack(seen.losses)[chosen, rows], torch.stack(gradients)[chosen, rows]


def _length(delta: Tensor, norm: str) -> Tensor:
    if norm == "linf":
        return delta.abs().amax(1)  # many times faster on CPUs than the norm of order infinity
    length: Tensor = torch.linalg.vector_norm(delta, ord=ORDER[norm], dim=1)
    return length
