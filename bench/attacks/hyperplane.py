"""The nearest point of a hyperplane inside the pixel bounds.

Croce & Hein 2020, Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, arXiv:1907.02044, section
3.1. Where the paper sorts the coordinates, this finds the same multiplier by Newton's method: the amount that a
perturbation gains is a concave, piecewise linear, rising function of the multiplier, so Newton's steps from 0 rise to the
root and meet it exactly, mostly within a few steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEWTON_STEPS = 60
"""More than the breakpoints that any image was seen to cross; what is left by then is a rounding error."""
CLOSE_ENOUGH = 1e-4
"""How much of the way may be missing, relatively: the attack overshoots by hundreds of times that."""
_TINY = 1e-30


def to_hyperplane(x: Tensor, weight: Tensor, value: Tensor, norm: str, bounds: tuple[float, float]) -> Tensor:
    """The smallest step from each point to its hyperplane that stays inside the bounds.

    Where the hyperplane can't be reached inside the bounds, every pixel goes as far towards it as it may.

    Args:
        x: points inside the bounds, shape (N, D).
        weight: normal of each hyperplane, shape (N, D).
        value: of the linear function at ``x``, shape (N,): the hyperplane is where it is 0.
        norm: ``linf`` or ``l2``: what is minimised.
        bounds: smallest and largest value of a pixel.

    Returns:
        Steps, shape (N, D).
    """
    low, high = bounds
    downhill = torch.where((value > 0)[:, None], -weight, weight)  # the value must move towards 0
    room = torch.where(downhill > 0, high - x, x - low)
    slope = downhill.abs()
    if norm == "linf":
        multiplier = _root(slope, room, value.abs())
        step = torch.minimum(room, multiplier[:, None])
    elif norm == "l2":
        reach = torch.where(slope > 0, room / slope.clamp_min(_TINY), torch.zeros_like(room))
        multiplier = _root(slope.square(), reach, value.abs())
        step = torch.minimum(reach, multiplier[:, None]).mul_(slope)
    else:
        raise ValueError(f"no projection for {norm}")
    return step.mul_(downhill.sign())


def _root(gain: Tensor, limit: Tensor, wanted: Tensor) -> Tensor:
    """The smallest m >= 0 with ``sum(gain * min(m, limit)) >= wanted``; the largest limit where there is none, shape (N,)."""
    multiplier = wanted / gain.sum(1).clamp_min(_TINY)
    for _ in range(NEWTON_STEPS):
        reached = torch.minimum(limit, multiplier[:, None])
        missing = wanted - torch.linalg.vecdot(gain, reached)
        more = missing > CLOSE_ENOUGH * wanted
        if not bool(more.any()):
            break
        slope = torch.linalg.vecdot(gain, (limit > reached).to(gain.dtype))
        more &= slope > 0
        if not bool(more.any()):
            break
        multiplier = torch.where(more, multiplier + missing / slope.clamp_min(_TINY), multiplier)
    return torch.minimum(multiplier, limit.amax(1))
