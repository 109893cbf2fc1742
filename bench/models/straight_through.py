"""A value with the gradient of another: what stands in for a defense, or for what a library is shown, in a backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Through(torch.autograd.Function):
    """Forward: the real value, to the last bit. Backward: the stand-in's gradient."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, stand_in: Tensor) -> Tensor:  # Any: torch's context has no type
        return real.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:  # Any: torch's context has no type
        return None, gradients[0]


def through(real: Tensor, stand_in: Tensor) -> Tensor:
    """``real`` with the gradient of ``stand_in``."""
    result: Tensor = _Through.apply(real, stand_in)  # type: ignore[no-untyped-call]
    return result
