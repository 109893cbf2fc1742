"""Carlini-Wagner under L2: our own.

Carlini & Wagner 2017, Towards Evaluating the Robustness of Neural Networks, arXiv:1608.04644, section VI.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen, per_image
from bench.attacks.losses import margin
from bench.attacks.minimum_norm import MinimumNormAttack, leave
from bench.attacks.parameters import CWParams
from bench.attacks.search_attack import Look

INSIDE = 0.999999
"""Pixels are drawn this far into the bounds, so that their preimages under tanh are finite (the authors' code)."""
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8
"""Adam's, Kingma & Ba 2015, arXiv:1412.6980."""
CHECKS = 10
"""How many times a search looks whether it is still worth going on (the authors' code)."""
PROGRESS = 0.995
"""A search ends early where the loss is above this share of what it was at the check before."""
FINER = 0.5
"""Factor of the step size after a search whose c was large enough."""
FINE = 0.3
"""After such a search the step size is at most this share of the perturbation's root mean square, as a change of w."""
SMALLEST = 1e-5
"""The step size stays above ``FINE`` times this."""
LARGEST = 1e10
"""The largest c (the authors' code)."""


class CWL2(MinimumNormAttack):
    """Adam on ``||x' - x||^2 + c * max(kappa - margin, 0)`` with ``x' = (tanh(w) + 1) / 2``, and a search for c.

    Every sample has its own c, its own Adam, and its own place in both loops. Three things differ from the paper, all of
    them because steps of one size cross boundaries that are nearer than a step: a search for c goes on where the one
    before it ended, with a smaller step size once a c was large enough, and a c is large enough where the last tenth
    of its steps met a success, not the first jump of Adam.
    """

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    last_look: ClassVar[bool] = False
    params: CWParams

    @property
    def steps(self) -> int:
        """Steps of all searches together."""
        return self.params.binary_search_steps * self.params.steps

    @property
    def confidence(self) -> float:
        """kappa."""
        return self.params.confidence

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The margin; the rest of the loss has a gradient in closed form."""
        return (margin(logits, batch.y),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image and the first c."""
        middle, half = _middle(context)
        zero = torch.zeros(len(batch), device=batch.x.device)
        batch.state = {
            "w": ((batch.x - middle) * (INSIDE / half)).atanh(),
            "first": torch.zeros_like(batch.x),
            "second": torch.zeros_like(batch.x),
            "alpha": zero + self.params.stepsize,
            "c": zero + self.params.initial_const,
            "low": zero,
            "high": zero + math.inf,
            "checked": zero + math.inf,
            "found": torch.zeros_like(zero, dtype=torch.bool),
            "step": torch.zeros_like(batch.place),
            "search": torch.zeros_like(batch.place),
        }
        batch.x_adv = _image(batch, context)

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """A step of Adam, and perhaps the next c."""
        state = batch.state
        middle, half = _middle(context)
        away = batch.x_adv - (middle + INSIDE * (batch.x - middle))
        short = (self.params.confidence - seen.margin).clamp_min(0)
        squared = away.square().sum((1, 2, 3))
        slope = half - (batch.x_adv - middle).square().div_(half)
        pull = per_image(torch.where(seen.margin > self.params.confidence, 0.0, state["c"]))
        self._adam(batch, (2 * away - pull * seen.gradient).mul_(slope))
        state["found"] = state["found"] | ((seen.margin >= self.params.confidence) & (seen.margin > 0))
        size = (squared / batch.x[0].numel()).sqrt() / half
        self._check(batch, squared + state["c"] * short, size.clamp_min(SMALLEST))
        batch.x_adv = _image(batch, context)

    def _adam(self, batch: Batch, gradient: Tensor) -> None:
        state = batch.state
        step = state["step"] = state["step"] + 1
        state["first"].mul_(BETA1).add_(gradient, alpha=1 - BETA1)
        state["second"].mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        scale = (1 - BETA2**step).sqrt()
        move = state["first"] / state["second"].sqrt().add_(per_image(TINY * scale))
        state["w"].sub_(move.mul_(per_image(state["alpha"] * scale / (1 - BETA1**step))))

    def _check(self, batch: Batch, loss: Tensor, size: Tensor) -> None:
        """Ends searches: after their steps, or early, at a check, where the loss hardly falls any more.

        The first check ends none that met a success, which may have been the first jump of Adam.

        Args:
            batch: the batch after the step.
            loss: of each sample before it, shape (B,).
            size: root mean square of the perturbation before it, in units of w, shape (B,).
        """
        state, tenth = batch.state, math.ceil(self.params.steps / CHECKS)
        check = (state["step"] - 1) % tenth == 0
        ended = state["step"] >= self.params.steps
        if self.params.abort_early:
            later = (state["step"] > tenth + 1) | ~state["found"]
            ended = ended | (check & later & (loss > PROGRESS * state["checked"]))
        state["checked"] = torch.where(check, loss, state["checked"])
        self._next_search(batch, ended, size)
        state["found"] = state["found"] & ~(check | ended)

    def _next_search(self, batch: Batch, ended: Tensor, size: Tensor) -> None:
        """Halves the bracket of c, or takes ten times the c that was too small.

        A sample leaves after its searches; one that no c has broken uses the steps that ended searches left over.
        """
        state = batch.state
        c, enough = state["c"], ended & state["found"]
        state["high"] = torch.where(enough, c, state["high"])
        state["low"] = torch.where(ended & ~enough, c, state["low"])
        larger = (10 * c).clamp_max(LARGEST)
        between = torch.where(torch.isinf(state["high"]), larger, (state["low"] + state["high"]) / 2)
        state["c"] = torch.where(ended, between, c)
        finer = FINER * state["alpha"]
        finer = torch.where(enough, torch.minimum(finer, FINE * size), finer)
        state["alpha"] = torch.where(ended & torch.isfinite(state["high"]), finer, state["alpha"])
        state["checked"] = torch.where(ended, math.inf, state["checked"])
        state["step"] = torch.where(ended, 0, state["step"])
        state["search"] = state["search"] + ended
        for name in ("first", "second"):
            state[name].masked_fill_(per_image(ended), 0.0)
        leave(batch, self, (state["search"] >= self.params.binary_search_steps) & torch.isfinite(state["high"]))


def _middle(context: AttackContext) -> tuple[float, float]:
    """Middle and half of the width of the bounds."""
    low, high = context.threat_model.bounds
    return (low + high) / 2, (high - low) / 2


def _image(batch: Batch, context: AttackContext) -> Tensor:
    middle, half = _middle(context)
    return batch.state["w"].tanh().mul_(half).add_(middle).clamp_(*context.threat_model.bounds)
