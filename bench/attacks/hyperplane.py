"""The nearest point of a hyperplane inside the pixel bounds.

Croce & Hein 2020, Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, arXiv:1907.02044, section
3.1. Where the paper sorts the coordinates, this finds the same multiplier by Newton's method under Linf and L2: the amount
that a perturbation gains is a concave, piecewise linear, rising function of the multiplier, so Newton's steps from 0 rise to
the root and meet it exactly, mostly within a few steps. Under L1 the coordinates of the largest weights go as far as they
may, one after the other, until the hyperplane is met.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attacks.batch import on_cpu

NEWTON_STEPS = 60
"""More than the breakpoints that any image was seen to cross; what is left by then is a rounding error."""
CLOSE_ENOUGH = 1e-4
"""How much of the way may be missing, relatively: the attack overshoots by hundreds of times that."""
_TINY = 1e-30
_BETWEEN_LOOKS = 3
"""Steps between two questions to a device whether a root is still missing; on a CPU every step asks."""


def to_hyperplane(x: Tensor, weight: Tensor, value: Tensor, norm: str, bounds: tuple[float, float]) -> Tensor:
    """The smallest step from each point to its hyperplane that stays inside the bounds.

    Where the hyperplane can't be reached inside the bounds, every pixel goes as far towards it as it may.

    Args:
        x: points inside the bounds, shape (N, D).
        weight: normal of each hyperplane, shape (N, D).
        value: of the linear function at ``x``, shape (N,): the hyperplane is where it is 0.
        norm: ``linf``, ``l2`` or ``l1``: what is minimised.
        bounds: smallest and largest value of a pixel.

    Returns:
        Steps, shape (N, D).
    """
    low, high = bounds
    # Arithmetic in place of masks: comparisons of whole images are many times slower on CPUs.
    direction = weight.sign().mul_(-value.sign()[:, None])  # the value must move towards 0
    room = direction * ((high + low) / 2 - x) + (high - low) / 2
    slope = weight.abs()
    if norm == "linf":
        multiplier = _root(slope, room, value.abs())
        step = torch.minimum(room, multiplier[:, None])
    elif norm == "l2":
        reach = room / slope.clamp_min(_TINY)
        multiplier = _root(slope.square(), reach, value.abs())
        step = torch.minimum(reach, multiplier[:, None]).mul_(slope)
    elif norm == "l1":
        step = _greedy(slope, room, value.abs())
    else:
        raise ValueError(f"no projection for {norm}")
    return step.mul_(direction)


def _greedy(slope: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The sizes of least sum with ``sum(slope * size) = wanted``: the steepest coordinates first, shape (N, D)."""
    steepest, order = slope.sort(dim=1, descending=True)
    limit = room.gather(1, order)
    gained = (steepest * limit).cumsum(1)
    left = wanted[:, None] - torch.cat([torch.zeros_like(gained[:, :1]), gained[:, :-1]], dim=1)
    size = torch.minimum((left / steepest.clamp_min(_TINY)).clamp_(min=0), limit).mul_(steepest > 0)
    return torch.zeros_like(size).scatter_(1, order, size)


def _root(gain: Tensor, limit: Tensor, wanted: Tensor) -> Tensor:
    """The smallest m >= 0 with ``sum(gain * min(m, limit)) >= wanted``; where there is none, one beyond every limit that
    gains anything, shape (N,).
    """
    return _risen(wanted / gain.sum(1).clamp_min(_TINY), gain, limit, wanted)


def _risen(multiplier: Tensor, gain: Tensor, limit: Tensor, wanted: Tensor) -> Tensor:
    """The root, by Newton's steps from a multiplier that isn't above it, which may be changed in place."""
    cheap = on_cpu(gain)
    for step in range(NEWTON_STEPS):
        reached = torch.minimum(limit, multiplier[:, None])
        missing = wanted - (gain * reached).sum(1)
        more = missing > CLOSE_ENOUGH * wanted
        if cheap:
            left = more.nonzero().flatten()
            if 2 * len(left) < len(more):  # the others are there
                if len(left):
                    few = (values.index_select(0, left) for values in (multiplier, gain, limit, wanted))
                    multiplier[left] = _risen(*few)
                break
        slope = (limit - reached).sign_().mul_(gain).sum(1)
        more &= slope > 0
        if (cheap or step % _BETWEEN_LOOKS == 1) and not bool(more.any()):
            break
        multiplier = torch.where(more, multiplier + missing / slope.clamp_min(_TINY), multiplier)
    return multiplier
