"""A defended model: a model again, with the gradient that an adaptive adversary would take.

BPDA: Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security, arXiv:1802.00420. The forward pass is
always the real defense; where that has no useful gradient, the backward pass takes the surrogate's.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from bench.defenses.base import Defense, Purifier
from bench.errors import BenchError


class _StraightThrough(torch.autograd.Function):
    """Forward: the real purifier, to the last bit. Backward: the surrogate's gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, purifier: Purifier) -> Tensor:  # Any: torch's context has no type
        ctx.save_for_backward(x)
        ctx.purifier = purifier
        return purifier.purify(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # Any: torch's context has no type
        (x,) = ctx.saved_tensors
        (gradient,) = gradients
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            stand_in = ctx.purifier.surrogate(point)
            (through,) = torch.autograd.grad(stand_in, point, gradient)
        return through, None


class DefendedModel(nn.Module):
    """A purifier before a model.

    Args:
        model: the bare model (:class:`bench.models.wrapper.CountedModel`); passes are counted there.
        defense: what stands before it.
    """

    def __init__(self, model: Any, defense: Defense) -> None:  # Any: a counted model
        super().__init__()
        if not isinstance(defense, Purifier):
            raise BenchError(f"{type(defense).__name__}: only purifiers can be put before a model yet")
        if defense.stochastic or defense.rejects:
            kind = "stochastic" if defense.stochastic else "rejecting"
            raise BenchError(
                f"{type(defense).__name__}: {kind} defenses can't be scored yet, so none of their numbers would hold"
            )
        self.model = model
        self.defense = defense
        self.num_classes: int = model.num_classes
        self.eval()

    @property
    def passes(self) -> Any:  # Any: the counter of the counted model
        """Sample-passes through the bare model."""
        return self.model.passes

    @property
    def microbatch(self) -> int | None:
        """The most samples of one piece of a pass; ``None`` for whole passes."""
        limit: int | None = self.model.microbatch
        return limit

    @microbatch.setter
    def microbatch(self, limit: int | None) -> None:
        self.model.microbatch = limit

    def compiled(self, size: int) -> AbstractContextManager[None]:
        """The bare model compiled, behind the real defense; see :meth:`bench.models.wrapper.CountedModel.compiled`."""
        inside: AbstractContextManager[None] = self.model.compiled(size)
        return inside

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the purified images, shape (N, K)."""
        if not isinstance(self.defense, Purifier):
            raise TypeError("checked in the constructor")
        if self.defense.differentiable or not (torch.is_grad_enabled() and x.requires_grad):
            purified = self.defense.purify(x.clone())  # one that works in place must not change the clean images
        else:
            purified = _StraightThrough.apply(x, self.defense)  # type: ignore[no-untyped-call]
        if purified.shape != x.shape:
            raise BenchError(
                f"{type(self.defense).__name__}: a purifier keeps the shape, got {tuple(purified.shape)} for {tuple(x.shape)}"
            )
        logits: Tensor = self.model(purified)
        return logits
