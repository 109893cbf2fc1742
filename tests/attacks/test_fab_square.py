"""FAB and Square against a linear model, where the minimal distances are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.attacks.base import AttackContext, AttackResult, Samples
from bench.attacks.draws import Draws, uniform
from bench.attacks.fab import FAB, TargetedFAB
from bench.attacks.parameters import FABParams, SquareParams, TargetedFABParams
from bench.attacks.square import Square
from bench.models.wrapper import CountedModel

Make = Callable[..., AttackContext]
FABS = [FAB(FABParams(steps=20)), TargetedFAB(TargetedFABParams(steps=20)), FAB(FABParams(steps=20, restarts=3))]


def broken(case: Any, result: AttackResult) -> torch.Tensor:
    with torch.no_grad():
        return case.model(result.x_adv).argmax(1) != case.samples.y


@pytest.mark.parametrize("attack", FABS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_fab_finds_the_minimal_distance(linear: Any, context: Make, attack: FAB, norm: str) -> None:
    here = context(norm, "1", search="strongest")
    result = attack.run(linear.model, linear.samples, here)
    found = here.threat_model.distance(result.x_adv, linear.samples.x)
    wanted = linear.least(norm)
    assert broken(linear, result).all()
    assert (found >= wanted * 0.999).all()
    assert (found <= wanted * 1.01 + 1e-6).all()


@pytest.mark.parametrize("attack", FABS)
@pytest.mark.parametrize(("norm", "eps"), [("linf", "1/50"), ("l2", "1/5"), ("l1", "3/4")])
def test_fab_leaves_once_a_sample_is_broken_inside_eps(
    linear: Any, context: Make, attack: FAB, norm: str, eps: str
) -> None:
    here = context(norm, eps)
    result = attack.run(linear.model, linear.samples, here)
    wanted = linear.least(norm) / here.threat_model.radius
    inside = broken(linear, result) & here.threat_model.contains(result.x_adv, linear.samples.x)
    clear = (wanted - 1).abs() > 0.02
    assert torch.equal(inside[clear], (wanted < 1)[clear])
    assert float(result.forwards[wanted < 0.9].max()) < float(result.forwards[wanted > 1.1].min())


def test_fab_on_a_model_without_gradients_is_finite_and_breaks_nothing(linear: Any, context: Make) -> None:
    class Flat(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).sum(1, keepdim=True) * torch.zeros(4) + torch.tensor([1.0, 0.0, 0.0, 0.0])

    model = CountedModel(Flat(), num_classes=4)
    samples = Samples(linear.samples.x, torch.zeros(64, dtype=torch.int64), linear.samples.ids)
    for attack in FABS:
        result = attack.run(model, samples, context())
        assert torch.isfinite(result.x_adv).all()
        assert torch.equal(result.x_adv, samples.x)
        assert result.zero_gradient is not None
        assert result.zero_gradient.all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_square_breaks_what_is_far_inside_the_ball_and_nothing_outside(linear: Any, context: Make, norm: str) -> None:
    here = context(norm, {"linf": "1/20", "l2": "1", "l1": "4"}[norm])
    linear.model.passes.reset()
    result = Square(SquareParams(n_queries=400)).run(linear.model, linear.samples, here)
    assert linear.model.passes.forward == result.forwards.sum()
    assert linear.model.passes.backward == 0
    ratio = linear.least(norm) / here.threat_model.radius
    found = broken(linear, result)
    assert found[ratio < 0.4].all()
    assert not found[ratio > 1.001].any()
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()
    assert float(result.forwards.max()) <= 400
    assert float(result.backwards.max()) == 0
    assert result.zero_gradient is None


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("size", [(1, 28, 28), (3, 5, 9), (3, 2, 2), (1, 1, 1)])
def test_square_takes_images_of_any_size(norm: str, size: tuple[int, int, int], context: Make) -> None:
    x = torch.rand(4, *size, generator=torch.Generator().manual_seed(0))

    class Bright(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mean = x.flatten(1).mean(1)
            return torch.stack([mean, 1 - mean], dim=1)

    model = CountedModel(Bright(), num_classes=2)
    samples = Samples(x, model(x).argmax(1), tuple("abcd"))
    here = context(norm, "1/10", search="strongest")
    result = Square(SquareParams(n_queries=60, restarts=2)).run(model, samples, here)
    assert here.threat_model.contains(result.x_adv, x).all()
    assert result.forwards.tolist() == [120.0] * 4
    with torch.no_grad():
        before, after = model(x), model(result.x_adv)
    gain = (before - after).gather(1, samples.y[:, None])
    assert (gain > 0).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_draws_for_the_sample_not_for_its_batch(linear: Any, context: Make, norm: str) -> None:
    attack = Square(SquareParams(n_queries=50))
    results = [attack.run(linear.model, linear.samples, context(norm, batch_size=size)) for size in (3, 16, 100)]
    for other in results[1:]:
        assert torch.allclose(results[0].x_adv, other.x_adv, atol=1e-6)
        assert torch.equal(results[0].forwards, other.forwards)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = attack.run(linear.model, linear.samples.take(order), context(norm))
    assert torch.allclose(results[0].x_adv[order], shuffled.x_adv, atol=1e-6)


def test_the_schedule_is_the_papers() -> None:
    attack = Square(SquareParams(n_queries=10_000))
    for query, divisor in ((0, 1), (10, 1), (11, 2), (51, 4), (201, 8), (501, 16), (2001, 64), (8001, 512)):
        assert float(attack.shares[query]) == pytest.approx(0.8 / divisor)
    fitted = Square(SquareParams(n_queries=100))
    assert float(fitted.shares[1]) == pytest.approx(0.8 / 4)
    as_it_is = Square(SquareParams(n_queries=100, rescale_schedule=False))
    assert float(as_it_is.shares[99]) == pytest.approx(0.8 / 4)


def test_counter_draws_are_uniform_and_independent_of_their_neighbours() -> None:
    keys = Draws(0, "square").keys(
        [f"s{index}" for index in range(500)], restarts=[0] * 500, device=torch.device("cpu")
    )
    numbers = uniform(keys, torch.arange(500), 40)
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    assert abs(float(numbers.mean()) - 0.5) < 0.01
    assert abs(float(numbers.var()) - 1 / 12) < 0.003
    counts = torch.histc(numbers, bins=20, min=0, max=1)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 45  # chi-squared, 19 degrees of freedom, p = 0.0007
    together = torch.corrcoef(torch.stack([numbers[:, 0], numbers[:, 1], numbers[:, 2]]))
    assert float((together - torch.eye(3)).abs().max()) < 0.15
    assert torch.equal(uniform(keys[7:8], torch.tensor([7]), 40)[0], numbers[7])
    assert not torch.equal(uniform(keys[7:8], torch.tensor([8]), 40)[0], numbers[7])
