"""A linear model whose minimal distances are known, and what attacks need to run on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from bench import threat_models
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.models.wrapper import CountedModel


class Linear(nn.Module):
    """Logits (w x + b, -(w x + b), and two hopeless classes): the margin of class 0 against 1 is 2 (w x + b)."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1) @ self.weight + self.bias
        return torch.stack([value, -value, value - 50, -value - 50], dim=1)


@dataclass
class Case:
    """A linear problem: the model, its samples, and the distance of each to the boundary."""

    model: CountedModel
    samples: Samples
    linf: Tensor
    l2: Tensor
    l1: Tensor

    def least(self, norm: str) -> Tensor:
        """The distances in a norm."""
        return {"linf": self.linf, "l2": self.l2, "l1": self.l1}[norm]


@pytest.fixture
def linear() -> Case:
    """64 samples in the middle of the cube, so that the bounds never matter for small eps."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(108, generator=generator)
    along = torch.linspace(-0.05, 0.05, 64)[torch.randperm(64, generator=generator)]
    noise = 0.01 * torch.randn(64, 108, generator=generator)
    noise -= (noise @ weight / weight.dot(weight))[:, None] * weight
    x = (0.5 + noise + along[:, None] * weight.sign()).view(64, 3, 6, 6)
    bias = -0.5 * float(weight.sum())
    value = x.flatten(1) @ weight + bias
    y = (value < 0).long()
    model = CountedModel(Linear(weight, bias), num_classes=4)
    samples = Samples(x, y, tuple(f"s{index}" for index in range(64)))
    l1 = torch.tensor([_least_l1(*pair, weight) for pair in zip(x.flatten(1), value, strict=True)])
    return Case(model, samples, value.abs() / weight.abs().sum(), value.abs() / weight.norm(), l1)


def _least_l1(x: Tensor, value: Tensor, weight: Tensor) -> float:
    """Pixel by pixel, those of the largest weight first, each as far as the bounds let it."""
    left, length = abs(float(value)), 0.0
    downhill = -weight * value.sign()
    for place in weight.abs().argsort(descending=True).tolist():
        slope, room = abs(float(weight[place])), float(1 - x[place] if downhill[place] > 0 else x[place])
        used = min(room, left / slope)
        left, length = left - used * slope, length + used
    assert left < 1e-5
    return length


@pytest.fixture
def needs_steady_kernels() -> Callable[[CountedModel, Tensor], None]:
    """Skips where this machine's kernels give a sample other bits in another row of the same batch shape."""

    def look(model: CountedModel, x: Tensor) -> None:
        order = torch.randperm(16, generator=torch.Generator().manual_seed(5))

        def gradient(images: Tensor) -> tuple[Tensor, Tensor]:
            here = images.clone().requires_grad_()
            logits = model(here)
            return logits.detach(), torch.autograd.grad(logits.logsumexp(1).sum(), here)[0]

        straight, shuffled = gradient(x[:16]), gradient(x[:16][order])
        if not all(torch.equal(one[order], other) for one, other in zip(straight, shuffled, strict=True)):
            pytest.skip("the kernels of this machine depend on the row of a batch")

    return look


@pytest.fixture
def context() -> Callable[..., AttackContext]:
    """Makes an attack's context."""

    def make(
        norm: str = "linf", eps: str = "1/50", *, search: str = "first_success", batch_size: int = 256, seed: int = 0
    ) -> AttackContext:
        threat_model = threat_models.build(norm, Fraction(eps))
        return AttackContext(threat_model, Draws(seed, "test"), search, batch_size)

    return make
