"""The L1 ball: the absolute differences of all pixels together are at most eps.

The ball alone says little here: the points that matter lie in its intersection with the pixel bounds, and clipping what
was projected onto the ball falls far short of the nearest point of that intersection (Croce & Hein 2021, Mind the box:
l1-APGD for sparse adversarial attacks on image classifiers, arXiv:2103.01208, section 2). :meth:`L1.project` gives the
nearest point itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.threat_models.base import ThreatModel

ROUNDING = 1e-6
"""Projections end this far inside eps, relatively: a sum over all pixels gathers rounding errors."""
_CLOSE = 5e-7
_STEPS = 100
_HALVE_EVERY = 3
"""Every third step of the root finder halves the bracket, which bounds the number of steps whatever the function."""


@dataclass(frozen=True, slots=True)
class L1(ThreatModel):
    """The absolute differences over all pixels and channels together are at most eps."""

    norm: ClassVar[str] = "l1"

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The sum of the absolute differences of each pair, shape (N,)."""
        return (x_adv - x).flatten(1).abs().sum(1)

    def project_ball(self, delta: Tensor) -> Tensor:
        """The nearest perturbation inside the ball: every coordinate shrinks by the same amount, the small ones to 0."""
        return shrunk(delta, self._radii(delta))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point in the intersection of the ball and the bounds (proposition 2.2), shape (N, C, H, W)."""
        return projected(x_adv, x, self._radii(x), self.bounds)

    def random_delta(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Uniform in the ball: a random point of its surface, and a radius of eps * u^(1/d)."""
        direction = self.random_direction(shape, generator)
        share: float = torch.rand((), generator=generator).item() ** (1 / direction.numel())
        return direction * share

    def random_direction(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Uniform on the surface: exponential sizes with random signs, scaled to length eps."""
        sizes = torch.empty(shape).exponential_(generator=generator)
        signs = torch.where(torch.rand(shape, generator=generator) < 0.5, 1.0, -1.0)
        return sizes * signs * (self.radius / sizes.sum())

    def ascend(self, gradient: Tensor) -> Tensor:
        """The vertex of the unit ball that the gradient rises to: its largest coordinate alone, the first among equals.

        That is a step of a single pixel and channel; L1-APGD moves along more of them at once.
        """
        flat = gradient.flatten(1)
        largest = flat.abs().argmax(1, keepdim=True)
        return torch.zeros_like(flat).scatter_(1, largest, flat.gather(1, largest).sign()).view_as(gradient)

    def _radii(self, like: Tensor) -> Tensor:
        return torch.full_like(like[:, 0, 0, 0], self.radius)


def projected(x_adv: Tensor, x: Tensor, radii: Tensor, bounds: tuple[float, float]) -> Tensor:
    """The nearest point of each one's own L1 ball inside the bounds.

    Args:
        x_adv: points, shape (N, C, H, W).
        x: centres inside the bounds, the same shape.
        radii: shape (N,).
        bounds: smallest and largest value of a pixel.

    Returns:
        Points, shape (N, C, H, W); a pixel that the projection leaves alone is the centre's to the last bit.
    """
    low, high = bounds
    delta = x_adv - x
    room = torch.where(delta > 0, high - x, x - low)
    points = (x + shrunk(delta, radii, room)).clamp_(low, high)
    beyond = (points - x).flatten(1).abs().sum(1) - radii
    if bool((beyond > 0).any()):  # many tiny changes, each rounded to the grid around its pixel
        rows = (beyond > 0).nonzero().flatten()
        shorter = (radii - 2 * beyond)[rows].clamp_min(0)
        points[rows] = (x[rows] + shrunk(delta[rows], shorter, room[rows])).clamp_(low, high)
    return points


def shrunk(delta: Tensor, radii: Tensor, room: Tensor | None = None) -> Tensor:
    """The nearest perturbation of at most a length in L1, no coordinate larger than its room.

    Every coordinate becomes ``sign * clamp(|delta| - m, 0, room)`` with the smallest m >= 0 that makes it short enough.
    What is left is a falling, piecewise linear function of m, whose root Newton's steps inside a bracket meet exactly.

    Args:
        delta: shape (N, C, H, W).
        radii: the lengths, shape (N,).
        room: the largest size of each coordinate, shape (N, C, H, W); without it there is no limit.

    Returns:
        Shape (N, C, H, W).
    """
    sizes = delta.flatten(1).abs()
    limit = None if room is None else room.flatten(1).clamp_min(0)
    wanted = radii.to(sizes.dtype) * (1 - ROUNDING)
    amount = _amount(sizes, limit, wanted)
    return _cut(sizes, limit, amount).mul_(delta.flatten(1).sign()).view_as(delta)


def _cut(sizes: Tensor, limit: Tensor | None, amount: Tensor) -> Tensor:
    left = (sizes - amount[:, None]).clamp_(min=0)
    return left if limit is None else torch.minimum(left, limit, out=left)


def _amount(sizes: Tensor, limit: Tensor | None, wanted: Tensor) -> Tensor:
    """The smallest m >= 0 at which the cut sizes add up to at most ``wanted``, each row by itself, shape (N,)."""
    low, high = torch.zeros_like(wanted), sizes.amax(1)
    amount, at, rows = low.clone(), low, torch.arange(len(wanted), device=wanted.device)
    for step in range(_STEPS):
        cut = _cut(sizes, limit, at)
        excess = cut.sum(1) - wanted
        inside = cut > 0 if limit is None else (cut > 0) & (cut < limit)
        slope = inside.sum(1)
        low, high = torch.where(excess > 0, at, low), torch.where(excess <= 0, at, high)
        amount[rows] = at
        more = (excess.abs() > _CLOSE * wanted) & ((excess > 0) | (at > 0)) & (high > low)
        if not bool(more.any()):
            return amount
        if not bool(more.all()):  # rows that are done leave, so that none depends on the others
            sizes, limit = sizes[more], None if limit is None else limit[more]
            parts = (low, high, at, excess, slope, wanted, rows)
            low, high, at, excess, slope, wanted, rows = (part[more] for part in parts)
        newton = at + excess / slope
        outside = (newton <= low) | (newton >= high) | (slope == 0)
        at = (low + high) / 2 if step % _HALVE_EVERY == _HALVE_EVERY - 1 else newton.where(~outside, (low + high) / 2)
    amount[rows] = high
    return amount
