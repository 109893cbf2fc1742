"""Threat models against their definitions, on arbitrary images and perturbations."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from bench import threat_models
from bench.errors import UnknownNameError
from bench.threat_models.base import ThreatModel

NORMS = ("linf", "l2", "l1")
EPS = (Fraction(2, 255), Fraction(8, 255), Fraction(1, 2), Fraction(3))

images = hnp.arrays(np.float32, (3, 1, 4, 4), elements=st.floats(0, 1, width=32))
points = hnp.arrays(np.float32, (3, 1, 4, 4), elements=st.floats(-3, 3, width=32))


def reference_distance(norm: str, x_adv: Tensor, x: Tensor) -> np.ndarray:
    delta = (x_adv.double() - x.double()).numpy().reshape(len(x), -1)
    if norm == "l1":
        return np.abs(delta).sum(1)
    return np.abs(delta).max(1) if norm == "linf" else np.sqrt((delta**2).sum(1))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", EPS)
@settings(deadline=None, max_examples=40)
@given(x=images, point=points)
def test_projection_lands_inside_and_keeps_what_is_inside(
    norm: str, eps: Fraction, x: np.ndarray, point: np.ndarray
) -> None:
    model = threat_models.build(norm, eps)
    clean, outside = torch.from_numpy(x), torch.from_numpy(point)
    projected = model.project(outside, clean)
    assert model.contains(projected, clean).all()
    assert float(projected.min()) >= 0
    assert float(projected.max()) <= 1
    assert (reference_distance(norm, projected, clean) <= float(eps) * (1 + 1e-4) + 2e-6).all()
    again = model.project(projected, clean)
    assert torch.allclose(again, projected, atol=1e-6)
    closer = reference_distance(norm, projected, clean) <= reference_distance(norm, outside, clean) + 1e-6
    assert closer.all()


@pytest.mark.parametrize("norm", NORMS)
@settings(deadline=None, max_examples=40)
@given(x=images, point=points)
def test_distance_is_the_norm(norm: str, x: np.ndarray, point: np.ndarray) -> None:
    model = threat_models.build(norm, Fraction(1))
    clean, other = torch.from_numpy(x), torch.from_numpy(point)
    assert np.allclose(
        model.distance(other, clean).numpy(), reference_distance(norm, other, clean), rtol=1e-5, atol=1e-6
    )


def test_linf_projection_by_hand() -> None:
    model = threat_models.build("linf", Fraction(1, 10))
    x = torch.tensor([[[[0.0, 0.5, 0.95]]]])
    x_adv = torch.tensor([[[[-0.5, 0.7, 1.5]]]])
    assert torch.allclose(model.project(x_adv, x), torch.tensor([[[[0.0, 0.6, 1.0]]]]))


def test_l2_projection_by_hand() -> None:
    model = threat_models.build("l2", Fraction(1, 2))
    x = torch.full((1, 1, 1, 2), 0.5)
    assert torch.allclose(model.project(x + torch.tensor([0.3, 0.4]) * 2, x), x + torch.tensor([0.3, 0.4]))
    assert torch.allclose(model.project(x + torch.tensor([0.03, 0.04]), x), x + torch.tensor([0.03, 0.04]))


@pytest.mark.parametrize("norm", NORMS)
def test_contains_refuses_what_is_not_inside(norm: str) -> None:
    model = threat_models.build(norm, Fraction(8, 255))
    x = torch.full((5, 1, 2, 2), 0.99)
    x_adv = x.clone()
    x_adv[1] += 0.05
    x_adv[2, 0, 0, 0] = float("nan")
    x_adv[3, 0, 0, 0] = 1.00001
    x_adv[4, 0, 0, 0] = float("inf")
    assert model.contains(x_adv, x).tolist() == [True, False, False, False, False]


def test_eps_is_measured_to_float_tolerance_only() -> None:
    model = threat_models.build("linf", Fraction(8, 255))
    x = torch.zeros(2, 1, 1, 1)
    x_adv = torch.tensor([8 / 255 + 1e-7, 8 / 255 + 1e-4]).view(2, 1, 1, 1)
    assert model.contains(x_adv, x).tolist() == [True, False]


@pytest.mark.parametrize("norm", NORMS)
def test_random_start_fills_the_ball(norm: str) -> None:
    model = threat_models.build(norm, Fraction(1, 4))
    x = torch.full((200, 1, 4, 4), 0.5)
    starts = model.random_start(x, [torch.Generator().manual_seed(i) for i in range(200)])
    distances = model.distance(starts, x)
    assert model.contains(starts, x).all()
    assert float(distances.max()) > 0.24
    assert torch.unique(starts.flatten(1), dim=0).shape[0] == 200
    assert abs(float((starts - x).mean())) < 0.01


@pytest.mark.parametrize("norm", NORMS)
def test_draws_for_many_images_are_those_of_each(norm: str) -> None:
    model, shape = threat_models.build(norm, Fraction(1, 4)), torch.Size((3, 5, 7))

    def drawing() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(number) for number in range(4)]

    assert torch.equal(
        model.random_deltas(shape, drawing()), torch.stack([model.random_delta(shape, g) for g in drawing()])
    )
    expected = torch.stack([model.random_direction(shape, g) for g in drawing()])
    assert torch.equal(model.random_directions(shape, drawing()), expected)


def test_linf_draws_are_those_of_the_formula() -> None:
    model, shape = threat_models.build("linf", Fraction(1, 4)), torch.Size((3, 5, 7))
    cube = 2 * torch.rand(shape, generator=torch.Generator().manual_seed(3)) - 1
    assert torch.equal(model.random_delta(shape, torch.Generator().manual_seed(3)), cube * 0.25)
    direction = model.random_direction(shape, torch.Generator().manual_seed(3))
    assert torch.equal(direction, cube * (0.25 / cube.abs().amax()))


def test_random_start_takes_one_generator_per_image() -> None:
    model: ThreatModel = threat_models.build("l2", Fraction(1))
    with pytest.raises(ValueError, match="got 1 for 2"):
        model.random_start(torch.zeros(2, 1, 2, 2), [torch.Generator()])


def test_l2_step_of_a_tiny_gradient_has_unit_length_and_zero_stays_zero() -> None:
    model = threat_models.build("l2", Fraction(1))
    gradient = torch.stack([torch.full((1, 2, 2), 1e-30), torch.zeros(1, 2, 2)])
    step = model.ascend(gradient)
    assert torch.allclose(step[0].norm(), torch.tensor(1.0))
    assert step[1].abs().sum() == 0


def test_unknown_norm() -> None:
    with pytest.raises(UnknownNameError, match="known: l1, l2, linf"):
        threat_models.build("l7", Fraction(1))
