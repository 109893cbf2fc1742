"""The L2 ball: the Euclidean length of the perturbation is at most eps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.threat_models.base import ThreatModel

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class L2(ThreatModel):
    """The Euclidean length of the perturbation over all pixels and channels is at most eps."""

    norm: ClassVar[str] = "l2"

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The Euclidean distance of each pair, shape (N,)."""
        length: Tensor = torch.linalg.vector_norm((x_adv - x).flatten(1), dim=1)
        return length

    def project_ball(self, delta: Tensor) -> Tensor:
        """Shortens perturbations that are longer than eps to length eps."""
        length = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp_min(_TINY)
        scale: Tensor = (self.radius / length).clamp_max(1.0).view(-1, *[1] * (delta.dim() - 1))
        return delta * scale

    def random_delta(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Uniform in the ball: a Gaussian direction, and a radius of eps * u^(1/d)."""
        direction = torch.randn(shape, generator=generator)
        radius = self.radius * torch.rand((), generator=generator).item() ** (1 / direction.numel())
        length: Tensor = torch.linalg.vector_norm(direction).clamp_min(_TINY)
        start: Tensor = direction * (radius / length)
        return start

    def random_direction(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Uniform on the sphere."""
        direction = torch.randn(shape, generator=generator)
        length: Tensor = torch.linalg.vector_norm(direction).clamp_min(_TINY)
        return direction * (self.radius / length)

    def ascend(self, gradient: Tensor) -> Tensor:
        """The gradient at unit length, scaled by its largest entry first so that a tiny one counts; zero stays zero."""
        shape = (-1, *[1] * (gradient.dim() - 1))
        largest = gradient.flatten(1).abs().amax(1)
        scaled = gradient / torch.where(largest > 0, largest, torch.ones_like(largest)).view(shape)
        length = torch.linalg.vector_norm(scaled.flatten(1), dim=1)
        return scaled / torch.where(length > 0, length, torch.ones_like(length)).view(shape)
