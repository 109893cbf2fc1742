from __future__ import annotations

from fractions import Fraction
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from bench import threat_models
from bench.training.draws import BatchDraws
from bench.training.method import Step
from bench.training.method_parameters import PGDParams
from bench.training.pgd import PGD, perturb
from bench.training.seeds import Seeds


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(8, 3, 2, 2, generator=generator) * 0.4 + 0.3, torch.randint(0, 2, (8,), generator=generator)


def draws(count: int = 8) -> BatchDraws:
    return BatchDraws(Seeds(0).generator("method"), count, 0, count, torch.device("cpu"))


def place(strength: float = 1.0) -> Step:
    return Step(9.0, 20, draws(), 0.0, strength)


def test_on_a_linear_model_the_linf_example_is_the_corner_of_the_ball() -> None:
    model, (x, y) = linear(), batch()
    ball = threat_models.build("linf", Fraction(1, 10))
    x_adv = perturb(model, x, y, threat_model=ball, steps=10, alpha=0.03, draws=draws())
    difference = model[1].weight[1] - model[1].weight[0]
    worst = torch.where(y.view(-1, 1) == 0, 1.0, -1.0) * difference.sign()
    assert torch.allclose(x_adv, x + 0.1 * worst.view_as(x), atol=1e-6)


def test_on_a_linear_model_the_l2_example_lies_along_the_gradient() -> None:
    model, (x, y) = linear(), batch()
    ball = threat_models.build("l2", Fraction(1, 4))
    x_adv = perturb(model, x, y, threat_model=ball, steps=10, alpha=0.1, draws=None)
    difference = model[1].weight[1] - model[1].weight[0]
    worst = torch.where(y.view(-1, 1) == 0, 1.0, -1.0) * difference / difference.norm()
    assert torch.allclose(x_adv, x + 0.25 * worst.view_as(x), atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_examples_stay_inside_the_threat_model(norm: str) -> None:
    model = linear()
    x, y = torch.rand(16, 3, 2, 2, generator=torch.Generator().manual_seed(2)), torch.zeros(16, dtype=torch.int64)
    ball = threat_models.build(norm, Fraction(3, 10))
    x_adv = perturb(model, x, y, threat_model=ball, steps=3, alpha=0.2, draws=draws(16))
    assert ball.contains(x_adv, x).all()
    assert not x_adv.requires_grad


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_strength_is_a_share_of_the_radius_and_of_the_step(norm: Literal["linf", "l2"]) -> None:
    method, model, (x, y) = PGD(PGDParams(name="pgd", norm=norm, eps=Fraction(2, 10), steps=3)), linear(), batch()
    ball = threat_models.build(norm, Fraction(2, 10))
    assert torch.equal(method.examples(model, x, y, step=place(0.0)), x)
    for strength in (0.25, 1.0):
        distance = ball.distance(method.examples(model, x, y, step=place(strength)), x)
        assert torch.allclose(distance, torch.full((8,), 0.2 * strength), rtol=1e-4)


def test_the_default_step_is_two_and_a_half_eps_over_the_steps() -> None:
    params = PGDParams(name="pgd", eps=Fraction(2, 10), steps=5, random_start=False)
    explicit = params.model_copy(update={"alpha": Fraction(1, 10)})
    model, (x, y) = linear(), batch()
    assert torch.equal(*(PGD(p).examples(model, x, y, step=place(0.3)) for p in (params, explicit)))


def test_the_attack_sees_evaluation_mode_and_the_update_training_mode() -> None:
    seen: list[bool] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.training)
            logits: Tensor = self.head(self.norm(x).flatten(1))
            return logits

    model, (x, y) = Watched().train(), batch()
    method = PGD(PGDParams(name="pgd", eps=Fraction(1, 10), steps=3))
    method.loss(model, x, method.examples(model, x, y, step=place()), y, step=place())
    assert seen == [False, False, False, True]
    assert model.training
    assert int(model.norm.num_batches_tracked or 0) == 1
    assert all(parameter.grad is None for parameter in model.parameters())
