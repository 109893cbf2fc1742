"""The projection onto a hyperplane inside the box, against bisection and against what must hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from bench.attacks.hyperplane import to_hyperplane


def bisected(x: Tensor, weight: Tensor, value: Tensor, norm: str) -> Tensor:
    """Norm of the smallest step of each row, in float64, by bisection over the multiplier."""
    x, weight, value = x.double(), weight.double(), value.double()
    downhill = torch.where((value > 0)[:, None], -weight, weight)
    room = torch.where(downhill > 0, 1 - x, x)

    def step(multiplier: Tensor) -> Tensor:
        wanted = multiplier[:, None] * (downhill.abs() if norm == "l2" else (downhill != 0).double())
        return torch.minimum(wanted, room)

    low, high = torch.zeros(len(x)).double(), torch.full((len(x),), 1e6).double()
    for _ in range(100):
        middle = (low + high) / 2
        enough = (downhill.abs() * step(middle)).sum(1) >= value.abs()
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    found = step(high)
    return found.amax(1) if norm == "linf" else found.norm(dim=1)


def solved(x: Tensor, weight: Tensor, value: Tensor) -> Tensor:
    """L1 norm of the smallest step of each row by linear programming; NaN where there is none."""
    found = []
    for point, normal, at in zip(x.double().numpy(), weight.double().numpy(), value.double().tolist(), strict=True):
        bounds = [(0, 1 - one) for one in point] + [(0, one) for one in point]
        answer = linprog(
            np.ones(2 * len(point)), A_eq=np.concatenate([normal, -normal])[None], b_eq=[-at], bounds=bounds
        )
        found.append(answer.fun if answer.success else np.nan)
    return torch.tensor(found, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    norm=st.sampled_from(["linf", "l2", "l1"]),
    scale=st.sampled_from([1e-4, 0.1, 1.0, 5.0]),
    saturated=st.floats(0, 1),
    zeros=st.floats(0, 0.9),
)
def test_it_is_the_smallest_step_inside_the_box(
    seed: int, norm: str, scale: float, saturated: float, zeros: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(8, 40, generator=generator)
    x = torch.where(torch.rand(8, 40, generator=generator) < saturated, x.round(), x)
    weight = torch.randn(8, 40, generator=generator)
    weight[torch.rand(8, 40, generator=generator) < zeros] = 0
    value = scale * torch.randn(8, generator=generator)
    step = to_hyperplane(x, weight, value, norm, (0.0, 1.0))
    assert float((x + step).min()) >= -1e-6
    assert float((x + step).max()) <= 1 + 1e-6
    downhill = torch.where((value > 0)[:, None], -weight, weight)
    reachable = (downhill.abs() * torch.where(downhill > 0, 1 - x, x)).sum(1)
    can = reachable > value.abs() * (1 + 1e-4)
    left = value + (weight * step).sum(1)
    assert (left[can].abs() <= 2e-4 * value[can].abs() + 1e-5).all()
    length = {"linf": step.abs().amax(1), "l2": step.norm(dim=1), "l1": step.abs().sum(1)}[norm]
    smallest = solved(x, weight, value) if norm == "l1" else bisected(x, weight, value, norm)
    assert torch.allclose(length[can].double(), smallest[can], rtol=1e-3, atol=1e-6)
    cannot = reachable < value.abs() * (1 - 1e-4)
    assert torch.allclose((downhill * step).sum(1)[cannot], reachable[cannot], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_zero_normal_moves_nothing(norm: str) -> None:
    step = to_hyperplane(torch.rand(2, 5), torch.zeros(2, 5), torch.tensor([1.0, 0.0]), norm, (0.0, 1.0))
    assert torch.isfinite(step).all()
    assert not step.any()


def test_other_norms_are_refused() -> None:
    with pytest.raises(ValueError, match="no projection for l0"):
        to_hyperplane(torch.rand(1, 2), torch.rand(1, 2), torch.rand(1), "l0", (0.0, 1.0))
