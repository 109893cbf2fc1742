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
from bench.attacks.batch import Batch, Seen
from bench.attacks.losses import margin
from bench.attacks.minimum_norm import MinimumNormAttack, leave, per_image
from bench.attacks.parameters import CWParams
from bench.attacks.search_attack import Look

INSIDE = 0.999999
"""Pixels are drawn this far into the bounds, so that their preimages under tanh are finite (the authors' code)."""
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8
"""Adam's, Kingma & Ba 2015, arXiv:1412.6980."""
PROGRESS = 0.9999
"""A search that ends early has not brought the loss below this share of what it was a tenth of its steps before."""
LARGEST = 1e10
"""The largest c (the authors' code)."""


class CWL2(MinimumNormAttack):
    """Adam on ``||x' - x||^2 + c * max(kappa - margin, 0)`` with ``x' = (tanh(w) + 1) / 2``, and a search for c.

    Every sample has its own c, its own Adam, and its own place in both loops.
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
            "delta": torch.zeros_like(batch.x),
            "first": torch.zeros_like(batch.x),
            "second": torch.zeros_like(batch.x),
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
        """A step of Adam, or the start of the next search."""
        state = batch.state
        middle, half = _middle(context)
        away = batch.x_adv - (middle + INSIDE * (batch.x - middle))
        short = (self.params.confidence - seen.margin).clamp_min(0)
        loss = away.square().sum((1, 2, 3)) + state["c"] * short
        slope = half * (1 - ((batch.x_adv - middle) / half).square()).clamp_min(0)
        pull = per_image(torch.where(seen.margin > self.params.confidence, 0.0, state["c"]))
        self._adam(batch, (2 * away - pull * seen.gradient) * slope)
        state["found"] = state["found"] | ((seen.margin >= self.params.confidence) & (seen.margin > 0))
        self._next_search(batch, self._ended(batch, loss))
        batch.x_adv = _image(batch, context)

    def _adam(self, batch: Batch, gradient: Tensor) -> None:
        state = batch.state
        state["step"] = state["step"] + 1
        state["first"].mul_(BETA1).add_(gradient, alpha=1 - BETA1)
        state["second"].mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        mean = state["first"] / per_image(1 - BETA1 ** state["step"])
        root = (state["second"] / per_image(1 - BETA2 ** state["step"])).sqrt_().add_(TINY)
        state["delta"].sub_(mean.div_(root).mul_(self.params.stepsize))

    def _ended(self, batch: Batch, loss: Tensor) -> Tensor:
        """Which searches are over, shape (B,): after their steps, or early where the loss no longer falls."""
        state = batch.state
        ended = state["step"] >= self.params.steps
        if not self.params.abort_early:
            return ended
        check = (state["step"] - 1) % math.ceil(self.params.steps / 10) == 0
        stuck = check & (loss > PROGRESS * state["checked"])
        state["checked"] = torch.where(check, loss, state["checked"])
        return ended | stuck

    def _next_search(self, batch: Batch, ended: Tensor) -> None:
        """Halves the bracket of c, or takes ten times the c that was too small, and starts again at the clean image."""
        state = batch.state
        c, found = state["c"], state["found"]
        state["high"] = torch.where(ended & found, c, state["high"])
        state["low"] = torch.where(ended & ~found, c, state["low"])
        larger = (10 * c).clamp_max(LARGEST)
        between = torch.where(torch.isinf(state["high"]), larger, (state["low"] + state["high"]) / 2)
        state["c"] = torch.where(ended, between, c)
        state["found"] = found & ~ended
        state["checked"] = torch.where(ended, math.inf, state["checked"])
        state["step"] = torch.where(ended, 0, state["step"])
        state["search"] = state["search"] + ended
        for name in ("delta", "first", "second"):
            state[name].masked_fill_(per_image(ended), 0.0)
        leave(batch, self, state["search"] >= self.params.binary_search_steps)


def _middle(context: AttackContext) -> tuple[float, float]:
    """Middle and half of the width of the bounds."""
    low, high = context.threat_model.bounds
    return (low + high) / 2, (high - low) / 2


def _image(batch: Batch, context: AttackContext) -> Tensor:
    middle, half = _middle(context)
    points = (batch.state["w"] + batch.state["delta"]).tanh_().mul_(half).add_(middle)
    return points.clamp_(*context.threat_model.bounds)
