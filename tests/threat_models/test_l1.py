"""The projection onto the L1 ball inside the bounds, against a slow solver and against what must hold."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from bench import threat_models
from bench.threat_models.l1 import shrunk


def slow(point: np.ndarray, x: np.ndarray, eps: float) -> np.ndarray:
    """The nearest point by bisection over the multiplier in float64, one image at a time."""
    delta = point - x
    room = np.where(delta > 0, 1 - x, x)

    def cut(m: float) -> np.ndarray:
        return np.asarray(np.clip(np.abs(delta) - m, 0, room))

    low, high = 0.0, float(np.abs(delta).max())
    if cut(0.0).sum() <= eps:
        high = 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if cut(middle).sum() > eps else (low, middle)
    return np.asarray(x + np.sign(delta) * cut(high))


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    eps=st.sampled_from([Fraction(1, 100), Fraction(1), Fraction(12), Fraction(1000)]),
    spread=st.sampled_from([1e-3, 0.3, 5.0]),
    saturated=st.floats(0, 1),
    ties=st.booleans(),
    width=st.sampled_from([1, 3, 20]),
)
def test_it_is_the_nearest_point(
    seed: int, eps: Fraction, spread: float, saturated: float, ties: bool, width: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (5, 3, width, width)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    x = torch.where(torch.rand(shape, generator=generator) < saturated, x.round(), x)
    point = x + spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    if ties:
        point = x + spread * (point - x).sign()
    ball = threat_models.build("l1", eps)
    found = ball.project(point, x)
    for row in range(5):
        wanted = slow(point[row].numpy(), x[row].numpy(), float(eps))
        assert np.abs(found[row].numpy() - wanted).sum() <= 3e-6 * float(eps)
    assert ball.contains(found, x).all()
    assert torch.allclose(ball.project(found, x), found, atol=1e-6)
    single = ball.project(point.float(), x.float())
    assert ball.contains(single, x.float()).all()
    assert torch.allclose(single.double(), found, atol=2e-5 * max(1.0, spread))
    alone = torch.cat([ball.project(one, clean) for one, clean in zip(point.split(1), x.split(1), strict=True)])
    assert torch.equal(alone, found)


def test_a_general_solver_finds_nothing_nearer() -> None:
    """SLSQP over the positive and negative parts of the perturbation."""
    generator = np.random.default_rng(0)
    for _ in range(10):
        x, point = generator.random(6), generator.random(6) + generator.normal(size=6)
        x[:2] = 0, 1
        eps = float(generator.uniform(0.05, 1.5))
        ball = threat_models.build("l1", Fraction(eps))
        projected, clean = torch.from_numpy(point).view(1, 1, 2, 3), torch.from_numpy(x).view(1, 1, 2, 3)
        ours = ball.project(projected, clean).flatten().numpy()

        def away(parts: np.ndarray, x: np.ndarray = x, point: np.ndarray = point) -> float:
            return float(((x + parts[:6] - parts[6:] - point) ** 2).sum())

        bounds = [(0, 1 - one) for one in x] + [(0, one) for one in x]
        room = {"type": "ineq", "fun": lambda parts, eps=eps: eps - parts.sum()}
        best = minimize(away, np.zeros(12), bounds=bounds, constraints=[room], options={"ftol": 1e-14, "maxiter": 500})
        assert ((ours - point) ** 2).sum() == pytest.approx(best.fun, abs=1e-5)


def test_by_hand() -> None:
    ball = threat_models.build("l1", Fraction(1))
    x = torch.tensor([0.5, 0.9, 0.5]).view(1, 1, 1, 3)
    point = torch.tensor([1.1, 2.9, 0.6]).view(1, 1, 1, 3)
    # The second pixel has room for 0.1 only: the first keeps 0.5 of its 0.6, and all that is left is inside.
    assert torch.allclose(ball.project(point, x).flatten(), torch.tensor([1.0, 1.0, 0.6]), atol=1e-5)
    small = threat_models.build("l1", Fraction(3, 10))
    assert torch.allclose(small.project(point, x).flatten(), torch.tensor([0.7, 1.0, 0.5]), atol=1e-5)
    # Clipping after the ball loses what the second pixel has no room for.
    clipped = (x + small.project_ball(point - x)).clamp(0, 1)
    assert float(small.distance(clipped, x)) == pytest.approx(0.1, abs=1e-5)


def test_every_perturbation_has_a_radius_of_its_own() -> None:
    delta = torch.tensor([[3.0, -1.0], [3.0, -1.0], [0.1, 0.0], [1.0, 1.0]]).view(4, 1, 1, 2)
    found = shrunk(delta, torch.tensor([2.0, 3.0, 1.0, 0.0])).flatten(1)
    wanted = torch.tensor([[2.0, 0.0], [2.5, -0.5], [0.1, 0.0], [0.0, 0.0]])
    assert torch.allclose(found, wanted, atol=1e-5)


def test_steepest_ascent_is_the_largest_coordinate() -> None:
    gradient = torch.tensor([[0.1, -5.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0], [2.0, 2.0, 0.0, 0.0]]).view(3, 1, 2, 2)
    step = threat_models.build("l1", Fraction(1)).ascend(gradient).flatten(1)
    assert step.tolist() == [[0, -1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_random_points_fill_the_ball_evenly() -> None:
    ball = threat_models.build("l1", Fraction(2))
    generator = torch.Generator().manual_seed(0)
    inside = torch.stack([ball.random_delta(torch.Size((1, 2, 1)), generator).flatten() for _ in range(4000)])
    surface = torch.stack([ball.random_direction(torch.Size((1, 2, 1)), generator).flatten() for _ in range(4000)])
    assert torch.allclose(surface.abs().sum(1), torch.tensor(2.0))
    assert float((inside.abs().sum(1) < 2 / 2**0.5).float().mean()) == pytest.approx(0.5, abs=0.03)
    quadrants = torch.stack([(inside[:, 0] > 0) & (inside[:, 1] > 0), (inside[:, 0] > 0) & (inside[:, 1] < 0)])
    assert quadrants.float().mean(1).tolist() == pytest.approx([0.25, 0.25], abs=0.03)
    # On the surface of two dimensions the share of the first coordinate is uniform.
    shares = surface[:, 0].abs() / 2
    assert torch.quantile(shares, torch.tensor([0.25, 0.5, 0.75])).tolist() == pytest.approx(
        [0.25, 0.5, 0.75], abs=0.03
    )
