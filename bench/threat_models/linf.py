"""The Linf ball: every pixel may change by at most eps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.threat_models.base import ThreatModel


@dataclass(frozen=True, slots=True)
class Linf(ThreatModel):
    """Every pixel may change by at most eps (Goodfellow et al. 2015, arXiv:1412.6572)."""

    norm: ClassVar[str] = "linf"

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The largest absolute difference of each pair, shape (N,)."""
        return (x_adv - x).abs_().amax(tuple(range(1, x.dim())))

    def project_ball(self, delta: Tensor) -> Tensor:
        """Clips every coordinate to [-eps, eps]."""
        return delta.clamp(-self.radius, self.radius)

    def box(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """``[x - eps, x + eps]`` cut with the bounds."""
        low, high = self.bounds
        return (x - self.radius).clamp_(min=low), (x + self.radius).clamp_(max=high)

    def random_delta(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Uniform in the cube (Madry et al. 2018, arXiv:1706.06083)."""
        return self.random_deltas(shape, [generator])[0]

    def random_direction(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Uniform in the cube, scaled until its largest coordinate is eps (Croce & Hein 2020, arXiv:2003.01690)."""
        return self.random_directions(shape, [generator])[0]

    def random_deltas(self, shape: torch.Size, generators: list[torch.Generator]) -> Tensor:
        """:meth:`random_delta` of each generator, in one tensor, shape (N, C, H, W)."""
        return _cube(shape, generators).mul_(self.radius)

    def random_directions(self, shape: torch.Size, generators: list[torch.Generator]) -> Tensor:
        """:meth:`random_direction` of each generator, in one tensor, shape (N, C, H, W)."""
        deltas = _cube(shape, generators)
        largest = deltas.flatten(1).abs().amax(1).clamp_min(1e-12).view(-1, *[1] * len(shape))
        return deltas.mul_(self.radius / largest)

    def ascend(self, gradient: Tensor) -> Tensor:
        """The sign of the gradient."""
        return gradient.sign()


def _cube(shape: torch.Size, generators: list[torch.Generator]) -> Tensor:
    """A point of [-1, 1]^D from each generator, shape (N, C, H, W)."""
    drawn = torch.empty(len(generators), *shape)
    for image, generator in zip(drawn, generators, strict=True):
        torch.rand(shape, generator=generator, out=image)
    return drawn.mul_(2).sub_(1)
