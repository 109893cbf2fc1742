"""Threat models: what an adversarial example may change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor

RELATIVE_TOLERANCE = 1e-4
"""How far beyond eps float32 rounding may carry a point, relative to eps."""
ABSOLUTE_TOLERANCE = 2e-6
"""The same in absolute terms, for the ball (per coordinate) and the bounds."""


@dataclass(frozen=True, slots=True)
class ThreatModel(ABC):
    """A ball of radius eps around the clean image, cut with the input bounds.

    Args:
        eps: radius in [0, 1] units, exact.
        bounds: smallest and largest value of a pixel.
    """

    eps: Fraction
    bounds: tuple[float, float] = (0.0, 1.0)

    norm: ClassVar[str]

    @property
    def radius(self) -> float:
        """eps as a float."""
        return float(self.eps)

    @abstractmethod
    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The distance of each pair.

        Args:
            x_adv: points, shape (N, C, H, W).
            x: clean images, the same shape.

        Returns:
            Distances, shape (N,), float32.
        """

    @abstractmethod
    def project_ball(self, delta: Tensor) -> Tensor:
        """The nearest perturbation inside the ball, shape (N, C, H, W); the bounds don't matter here."""

    @abstractmethod
    def random_delta(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """One random perturbation inside the ball, shape (C, H, W), on the generator's device."""

    @abstractmethod
    def random_direction(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """One random perturbation on the ball's surface, shape (C, H, W), on the generator's device."""

    @abstractmethod
    def ascend(self, gradient: Tensor) -> Tensor:
        """The unit step of steepest ascent under this norm, shape (N, C, H, W); zero where the gradient is zero."""

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point to ``x_adv`` along the ball, then clipped to the bounds, shape (N, C, H, W).

        Clipping to bounds that hold the clean image never increases the distance from it, so the result is contained.
        """
        return (x + self.project_ball(x_adv - x)).clamp_(*self.bounds)

    def box(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """The smallest and largest allowed value of every pixel where the threat model is a box, else ``None``.

        Args:
            x: clean images, or some of their pixels, any shape.
        """
        return None

    def contains(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Whether each point is finite, inside the ball and inside the bounds, up to float32 tolerance, shape (N,)."""
        low, high = self.bounds
        flat = x_adv.flatten(1)
        inside = (flat >= low - ABSOLUTE_TOLERANCE).all(1) & (flat <= high + ABSOLUTE_TOLERANCE).all(1)
        near = self.distance(x_adv, x) <= self.radius * (1 + RELATIVE_TOLERANCE) + ABSOLUTE_TOLERANCE
        return inside & near & torch.isfinite(flat).all(1)

    def random_start(self, x: Tensor, generators: list[torch.Generator]) -> Tensor:
        """A random point of the threat model for each image, from that image's own generator.

        Args:
            x: clean images, shape (N, C, H, W).
            generators: N generators on the CPU, so that every device draws the same.
        """
        if len(generators) != len(x):
            raise ValueError(f"one generator per image: got {len(generators)} for {len(x)}")
        if not generators:
            return x.clone()
        return self.project(x + self.random_deltas(x.shape[1:], generators).to(device=x.device, dtype=x.dtype), x)

    def random_deltas(self, shape: torch.Size, generators: list[torch.Generator]) -> Tensor:
        """:meth:`random_delta` of each generator, shape (N, C, H, W)."""
        return torch.stack([self.random_delta(shape, generator) for generator in generators])

    def random_directions(self, shape: torch.Size, generators: list[torch.Generator]) -> Tensor:
        """:meth:`random_direction` of each generator, shape (N, C, H, W)."""
        return torch.stack([self.random_direction(shape, generator) for generator in generators])
