"""APGD, Auto-PGD: PGD with momentum whose step size adapts to how the loss goes.

Croce & Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-free Attacks,
arXiv:2003.01690.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.attacks.apgd_l1 import L1APGD, TargetedL1APGD
from bench.attacks.base import Attack, AttackContext
from bench.attacks.batch import Batch, Seen, on_cpu, per_image, without_label
from bench.attacks.losses import LOSSES, target_margin, targeted_dlr
from bench.attacks.parameters import APGDParams, TargetedAPGDParams
from bench.attacks.pgd import projected
from bench.attacks.search_attack import Look, SearchAttack, generators

MOMENTUM = 0.75
"""The paper's alpha: the weight of the projected gradient step against the last move."""


class APGD(SearchAttack):
    """Ascent with momentum; the step size halves, and the search goes back to its best point, where progress stalls."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    under_l1: ClassVar[type[L1APGD]] = L1APGD
    """The attack that :meth:`create` gives under L1, where the steps follow other rules."""
    any_layout: ClassVar[bool] = True
    params: APGDParams | TargetedAPGDParams

    @classmethod
    def create(cls, params: Any, *, norm: str, backend: str | None) -> Attack:  # Any: as in the base class
        """This attack; under L1 the one of Croce & Hein 2021 (arXiv:2103.01208)."""
        return cls.under_l1(params) if norm == "l1" else super().create(params, norm=norm, backend=backend)

    @property
    def steps(self) -> int:
        """Gradient steps of one run."""
        return self.params.steps

    @property
    def eot_iter(self) -> int:
        """Gradients averaged at every point."""
        return self.params.eot_iter

    @cached_property
    def windows(self) -> Tensor:
        """Steps since the last checkpoint where there is one, else 0, for each iteration; shape (steps + 1,)."""
        n = self.params.steps
        window, end = max(int(0.22 * n), 1), 0
        windows = torch.zeros(n + 1, dtype=torch.int64)
        while (end := end + window) <= n:
            windows[end] = window
            window = max(window - max(int(0.03 * n), 1), max(int(0.06 * n), 1))
        return windows

    def runs(self, num_classes: int) -> int:
        """Independent starts."""
        return self.params.restarts

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """Cross-entropy, DLR or margin."""
        return (LOSSES[self.params.loss](logits, batch.y),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """A random point at distance eps, cut with the bounds."""
        deltas = context.threat_model.random_directions(batch.x.shape[1:], generators(batch, ids, context))
        start = batch.x + deltas.to(batch.x)
        rows = torch.zeros_like(batch.x[:, 0, 0, 0])
        batch.state = {
            "old": start,
            "best": start,
            "gradient": torch.zeros_like(start),
            "best_loss": rows - torch.inf,
            "last_loss": rows,
            "checked_loss": rows - torch.inf,
            "rises": rows,
            "size": rows + 2 * context.threat_model.radius,
            "halved": torch.ones_like(batch.place, dtype=torch.bool),
        }
        box = context.threat_model.box(batch.x)
        if box is not None:
            batch.state["low"], batch.state["high"] = box
        batch.x_adv = batch.state["old"] = batch.state["best"] = projected(start, batch, context)

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """Keeps the best point, adapts the step size at checkpoints, and moves on with momentum."""
        state, gradient = batch.state, seen.gradient
        first = batch.iteration == 0
        state["rises"] = state["rises"] + ((seen.loss > state["last_loss"]) & ~first)
        state["last_loss"] = seen.loss
        better = (seen.loss > state["best_loss"]) | first
        if not on_cpu(better) or bool(better.any()):
            take = per_image(better.to(gradient.dtype))  # 0 or 1: lerp is many times faster on CPUs than where
            state["best"] = torch.lerp(state["best"], batch.x_adv, take)
            state["gradient"] = torch.lerp(state["gradient"], gradient, take)
            state["best_loss"] = torch.where(better, seen.loss, state["best_loss"])
            state["checked_loss"] = torch.where(first, seen.loss, state["checked_loss"])
        x_adv = batch.x_adv
        if not batch.all_new():
            x_adv, gradient = self._check(batch, gradient)
        batch.x_adv, state["old"] = _moved(batch, x_adv, gradient, first, context), x_adv

    def _check(self, batch: Batch, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The paper's two conditions, where a sample is at a checkpoint: where each goes on, and with which gradient."""
        state = batch.state
        if not bool((self.windows[batch.youngest : batch.oldest + 1] > 0).any()):
            return batch.x_adv, gradient
        window = self.there(self.windows, batch.iteration.device)[batch.iteration]
        here = window > 0
        stalled = state["rises"] <= self.params.rho * window
        no_better = ~state["halved"] & (state["checked_loss"] >= state["best_loss"])
        halve = here & (stalled | no_better)
        state["halved"] = torch.where(here, halve, state["halved"])
        state["checked_loss"] = torch.where(here, state["best_loss"], state["checked_loss"])
        state["rises"] = torch.where(here, 0.0, state["rises"])
        state["size"] = torch.where(halve, state["size"] / 2, state["size"])
        mask = per_image(halve)
        return torch.where(mask, state["best"], batch.x_adv), torch.where(mask, state["gradient"], gradient)


class TargetedAPGD(APGD):
    """APGD towards one class after the other."""

    chooses_targets: ClassVar[bool] = True
    ranked_by: ClassVar[str] = "margin"
    under_l1: ClassVar[type[L1APGD]] = TargetedL1APGD
    params: TargetedAPGDParams

    def runs(self, num_classes: int) -> int:
        """Targets times starts."""
        return min(self.params.n_target_classes, num_classes - 1) * self.params.restarts

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """Targeted DLR or margin."""
        function = targeted_dlr if self.params.loss == "dlr" else target_margin
        return (function(logits, batch.y, batch.state["target"]),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """As APGD, with a target for each sample."""
        super().begin(batch, ids, context)
        batch.state["target"] = targets(batch, batch.run // self.params.restarts)


def targets(batch: Batch, number: Tensor) -> Tensor:
    """The class of the ``number``-th largest clean logit among all but the label's, from 0, shape (B,)."""
    if batch.ranking is None:
        raise ValueError("targets need the ranking of the classes: set chooses_targets")
    return without_label(batch.ranking, batch.y).gather(1, number[:, None]).squeeze(1)


def _moved(batch: Batch, x_adv: Tensor, gradient: Tensor, first: Tensor, context: AttackContext) -> Tensor:
    """A projected gradient step, mixed with the last move, projected again."""
    move = context.threat_model.ascend(gradient).mul_(per_image(batch.state["size"]))
    there = projected(move.add_(x_adv), batch, context)
    if batch.all_new():
        return there
    mixed = there * MOMENTUM
    mixed.add_(x_adv, alpha=2 * (1 - MOMENTUM)).sub_(batch.state["old"], alpha=1 - MOMENTUM)
    if batch.any_new():
        mixed = torch.where(per_image(first), there, mixed)
    return projected(mixed, batch, context)
