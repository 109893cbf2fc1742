"""The judge decides, whatever an attack returns."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from bench import threat_models
from bench.errors import AttackError
from bench.models.wrapper import CountedModel
from bench.runner.judge import Verdict, exact_arithmetic, judge, predict


class Brightness(nn.Module):
    """Class 1 where the mean is above one half."""

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1).mean(1) - 0.5
        return torch.stack([-value, value], dim=1)


def ruled(
    x: Tensor,
    y: Tensor,
    x_raw: Tensor,
    *,
    norm: str = "linf",
    eps: str = "1/10",
    minimum: bool = False,
    correct: Tensor | None = None,
) -> Verdict:
    return judge(
        CountedModel(Brightness(), num_classes=2),
        x,
        y,
        x_raw,
        threat_model=threat_models.build(norm, Fraction(eps)),
        minimum_norm=minimum,
        batch_size=2,
        sample_ids=tuple(f"s{i}" for i in range(len(x))),
        clean_correct=correct,
    )


@pytest.fixture
def x() -> Tensor:
    return torch.full((3, 1, 2, 2), 0.45)


@pytest.fixture
def y() -> Tensor:
    return torch.zeros(3, dtype=torch.int64)


def test_measures_and_predicts(x: Tensor, y: Tensor) -> None:
    raw = x + torch.tensor([0.02, 0.06, 0.1]).view(3, 1, 1, 1)
    verdict = ruled(x, y, raw)
    assert verdict.prediction.predicted.tolist() == [0, 1, 1]
    assert verdict.raw_distance.tolist() == pytest.approx([0.02, 0.06, 0.1], abs=1e-6)
    assert verdict.prediction.margin.tolist() == pytest.approx([0.06, -0.02, -0.1], abs=1e-6)
    expected = [1 / (1 + 2.718281828 ** -abs(margin)) for margin in (0.06, 0.02, 0.1)]
    assert verdict.prediction.confidence.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_point_outside_the_ball_is_an_error_for_a_fixed_eps_attack(x: Tensor, y: Tensor) -> None:
    raw = x.clone()
    raw[1] += 0.11
    with pytest.raises(AttackError, match=r"left the threat model: 1 points, first s1 at linf distance 0\.11"):
        ruled(x, y, raw)


def test_a_point_beyond_eps_is_no_success_for_a_minimum_norm_attack(x: Tensor, y: Tensor) -> None:
    raw = x.clone()
    raw[1] += 0.11
    raw[2] += 0.09
    verdict = ruled(x, y, raw, minimum=True)
    assert verdict.prediction.predicted.tolist() == [0, 0, 1]
    assert torch.equal(verdict.x_adv[1], x[1])
    assert verdict.raw_distance.tolist() == pytest.approx([0, 0.11, 0.09], abs=1e-6)


def test_the_minimal_distance_is_that_of_a_verified_point_wherever_it_lies() -> None:
    x = torch.full((6, 1, 2, 2), 0.45)
    x[3] = 0.55  # wrong when clean
    y = torch.zeros(6, dtype=torch.int64)
    shift = torch.tensor([0.06, 0.2, 0.04, 0.03, 0.0, 0.6])
    verdict = ruled(x, y, x + shift.view(6, 1, 1, 1), minimum=True, correct=torch.tensor([1, 1, 1, 0, 1, 1]) == 1)
    # inside eps, beyond eps, no adversarial example inside eps, wrong when clean, the clean image, clipped to [0, 1]
    assert verdict.minimal_distance.tolist() == pytest.approx([0.06, 0.2, math.inf, 0, math.inf, 0.55], abs=1e-6)
    assert verdict.prediction.predicted.tolist() == [1, 0, 0, 1, 0, 0]
    assert torch.equal(verdict.x_adv[1], x[1])


def test_a_point_beyond_eps_counts_only_where_it_is_misclassified(x: Tensor, y: Tensor) -> None:
    raw = x + torch.tensor([-0.2, 0.2, -0.45]).view(3, 1, 1, 1)
    verdict = ruled(x, y, raw, minimum=True, correct=torch.ones(3, dtype=torch.bool))
    assert verdict.minimal_distance.tolist() == pytest.approx([math.inf, 0.2, math.inf], abs=1e-6)
    assert torch.isinf(verdict.minimal_distance[[0, 2]]).all()


@pytest.mark.parametrize("eps", ["1/10", "8/255", "3/10", "1/3"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_minimal_distance_agrees_with_the_verdict_on_the_surface(norm: str, eps: str) -> None:
    x = torch.full((41, 1, 2, 2), 0.4999999)
    radius = float(Fraction(eps)) / (2 if norm == "l2" else 1)
    raw = x + radius * (1 + torch.linspace(-3e-4, 3e-4, 41)).view(41, 1, 1, 1)
    y = torch.zeros(41, dtype=torch.int64)
    verdict = ruled(x, y, raw, norm=norm, eps=eps, minimum=True, correct=y == 0)
    broken = verdict.prediction.predicted != y
    assert 20 <= int(broken.sum()) <= 40
    assert ((verdict.minimal_distance <= float(Fraction(eps))) == broken).all()


def test_nobody_looks_where_no_minimal_distance_is_wanted(x: Tensor, y: Tensor) -> None:
    correct = torch.ones(3, dtype=torch.bool)
    for verdict in (ruled(x, y, x + 0.06, correct=correct), ruled(x, y, x + 0.2, minimum=True)):
        assert torch.isnan(verdict.minimal_distance).all()


@pytest.mark.parametrize("minimum", [False, True])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_point_that_is_not_finite_is_an_error(x: Tensor, y: Tensor, value: float, minimum: bool) -> None:
    raw = x.clone()
    raw[2, 0, 0, 0] = value
    with pytest.raises(AttackError, match="NaN or infinity"):
        ruled(x, y, raw, minimum=minimum)


def test_a_point_outside_the_bounds_is_an_error_for_both(y: Tensor) -> None:
    x = torch.full((3, 1, 2, 2), 0.98)
    raw = x + 0.05
    for minimum in (False, True):
        with pytest.raises(AttackError, match="left the threat model"):
            ruled(x, y, raw, minimum=minimum)


def test_float_noise_is_projected_not_refused(x: Tensor, y: Tensor) -> None:
    raw = x + 0.1 + 1e-6
    verdict = ruled(x, y, raw)
    assert float((verdict.x_adv - x).abs().max()) <= 0.1 + 3e-8


def test_wrong_shape(x: Tensor, y: Tensor) -> None:
    with pytest.raises(AttackError, match=r"shape \(2, 1, 2, 2\)"):
        ruled(x, y, x[:2])


def test_logits_that_are_not_finite_are_an_error(x: Tensor, y: Tensor) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), float("nan"))

    with pytest.raises(AttackError, match="aren't finite"):
        predict(CountedModel(Broken(), num_classes=2), x, y, 2)


def test_exact_arithmetic_switches_off_and_puts_back() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic)
    matmul.allow_tf32 = True
    try:
        with exact_arithmetic(), torch.autocast("cpu", enabled=False):
            assert not matmul.allow_tf32
            assert not cudnn.allow_tf32
            assert cudnn.deterministic
            with torch.autocast("cpu", dtype=torch.bfloat16):
                pass
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic = before


def test_autocast_around_the_judge_has_no_effect(x: Tensor, y: Tensor) -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.linear(x.flatten(1))
            return logits

    model = CountedModel(Layer(), num_classes=2)
    with exact_arithmetic():
        plain = predict(model, x, y, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16), exact_arithmetic():
        inside = predict(model, x, y, 2)
    assert torch.equal(plain.margin, inside.margin)
