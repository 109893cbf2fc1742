"""L1-APGD: a plain one for a single sample, written from the paper's algorithm 1; linear models; the official code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.attacks import build
from bench.attacks.apgd_l1 import L1APGD, TargetedL1APGD, sparse_sign
from bench.attacks.base import AttackContext, AttackResult, Samples
from bench.attacks.draws import Draws
from bench.attacks.losses import LOSSES, margin
from bench.attacks.parameters import APGDParams, TargetedAPGDParams
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec
from bench.threat_models import build as ball_of
from bench.threat_models.base import ThreatModel

Make = Callable[..., AttackContext]
ATTACKS = [
    L1APGD(APGDParams(steps=20)),
    L1APGD(APGDParams(steps=20, loss="dlr", restarts=2)),
    TargetedL1APGD(TargetedAPGDParams(steps=20)),
]


def network(seed: int, features: int = 75, num_classes: int = 10) -> CountedModel:
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, num_classes))
    return CountedModel(layers, num_classes=num_classes)


def broken(model: CountedModel, samples: Samples, result: AttackResult) -> Tensor:
    with torch.no_grad():
        return margin(model(result.x_adv), samples.y) > 0


def plain_phase(
    loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, ball: ThreatModel, steps: int, *, first: bool
) -> tuple[Tensor, list[float]]:
    """Algorithm 1 for one image in one ball: the point of the highest loss, and the step size of every step.

    Random starts begin with a fifth of the pixels, later balls with those that the one before had changed.
    """

    def look(point: Tensor) -> tuple[float, Tensor]:
        here = point.clone().requires_grad_()
        value = loss(here)
        return float(value.detach()), torch.autograd.grad(value, here)[0]

    eps, window = ball.radius, max(int(0.04 * steps), 1)
    point = best = ball.project(start, x)
    highest, direction = look(point)
    best_direction, size, sizes = direction, eps, []
    nonzero = x.numel() if first else int((point != x).sum())
    density = 0.2 * x.numel() if first else nonzero / 1.5
    for k in range(steps):
        if k and k % window == 0:
            now = int((best != x).sum())
            if now < 0.95 * nonzero:
                size, point, direction = eps, best, best_direction
            else:
                size = max(size / 1.5, eps / 10)
            density, nonzero = now / 1.5, now
        sizes.append(size)
        count = max(-int(-density // 1), 1)
        threshold = direction.abs().flatten().sort(descending=True).values[count - 1]
        signs = direction.sign() * (direction.abs() >= threshold)
        point = ball.project(point + size * signs / signs.abs().sum().clamp_min(1), x)
        value, direction = look(point)
        if value > highest:
            highest, best, best_direction = value, point, direction
    return best, sizes


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("steps", [1, 2, 3, 11, 40, 100])
def test_the_engine_does_what_the_paper_says(loss: str, steps: int) -> None:
    torch.manual_seed(steps)

    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(2 * x)

    layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 24), Sine(), nn.Linear(24, 5)).double()
    with torch.no_grad():  # nothing is broken: else an adversarial point would beat one of higher loss
        layers[-1].bias[0] += 5
    model = CountedModel(layers, num_classes=5)
    x, y = torch.rand(6, 3, 4, 4, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)
    ids, draws, function = tuple("abcdef"), Draws(0, "apgd"), LOSSES[loss]
    ball = ball_of("l1", Fraction(1, 5))
    attack = L1APGD(APGDParams(steps=steps, loss=loss))
    assert sum(length for _, length in attack.phases()) == steps
    result = attack.run(model, Samples(x, y, ids), AttackContext(ball, draws, "strongest", 4))
    assert not broken(model, Samples(x, y, ids), result).any()
    assert (result.backwards == steps).all()
    assert (result.forwards == steps + len(attack.phases()) + 1).all()
    for row in range(6):
        one, label = x[row : row + 1], y[row : row + 1]
        generator = draws.generators(ids[row : row + 1], restarts=[0])[0]
        best = one + torch.randn(one.shape[1:], generator=generator).to(one)
        sizes = []
        for factor, length in attack.phases():
            there = replace(ball, eps=factor * ball.eps)
            best, these = plain_phase(
                lambda p, label=label: function(model(p), label).sum(), one, best, there, length, first=not sizes
            )
            sizes += these
        assert torch.allclose(result.x_adv[row], best[0], atol=1e-7)
        assert steps < 40 or min(sizes) < max(sizes) / 8


def test_a_sparse_step_has_unit_length_and_the_largest_entries() -> None:
    gradient = torch.tensor([[0.1, -5.0, 3.0, 0.2], [0.0, 0.0, 0.0, 0.0], [2.0, -2.0, 2.0, 1.0]]).view(3, 1, 2, 2)
    step = sparse_sign(gradient, torch.tensor([2.0, 3.0, 0.3])).flatten(1)
    third = 1 / 3
    assert step.tolist() == [[0, -0.5, 0.5, 0], [0, 0, 0, 0], pytest.approx([third, -third, third, 0])]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_it_breaks_exactly_what_can_be_broken(linear: Any, context: Make, attack: L1APGD, search: str) -> None:
    here = context("l1", "3/4", search=search)
    linear.model.passes.reset()
    result = attack.run(linear.model, linear.samples, here)
    assert int(result.forwards.sum()) == linear.model.passes.forward
    ratio = linear.l1 / here.threat_model.radius
    clear = (ratio - 1).abs() > 0.03
    assert int(clear.sum()) > 40
    assert 15 < int((ratio < 1).sum()) < 50
    assert torch.equal(broken(linear.model, linear.samples, result)[clear], (ratio < 1)[clear])
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()
    forwards, backwards = attack.passes(4)
    assert float(result.forwards.max()) <= forwards
    assert float(result.backwards.max()) <= backwards


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_batch_size_and_order_change_nothing(linear: Any, context: Make, attack: L1APGD, search: str) -> None:
    results = [
        attack.run(linear.model, linear.samples, context("l1", "3/4", search=search, batch_size=size))
        for size in (3, 16, 100)
    ]
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = attack.run(linear.model, linear.samples.take(order), context("l1", "3/4", search=search))
    for other in results[1:]:
        assert torch.allclose(results[0].x_adv, other.x_adv, atol=1e-5)
        assert torch.equal(results[0].forwards, other.forwards)
    assert torch.allclose(results[0].x_adv[order], shuffled.x_adv, atol=1e-5)


def test_strongest_keeps_the_higher_loss_of_all_runs(linear: Any, context: Make) -> None:
    here, losses = context("l1", "1/2", search="strongest"), []
    for restarts in (1, 3):
        result = L1APGD(APGDParams(steps=10, restarts=restarts)).run(linear.model, linear.samples, here)
        with torch.no_grad():
            losses.append(LOSSES["ce"](linear.model(result.x_adv), linear.samples.y))
    assert (losses[1] >= losses[0] - 1e-6).all()
    assert (losses[1] > losses[0] + 1e-6).any()


def test_a_model_without_gradients_is_no_success(linear: Any, context: Make) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0, 0.0]).repeat(len(x), 1) + 0 * x.flatten(1).sum(1, keepdim=True)

    samples = Samples(linear.samples.x, torch.zeros(64, dtype=torch.int64), linear.samples.ids)
    for attack in ATTACKS:
        result = attack.run(CountedModel(Flat(), num_classes=3), samples, context("l1", "2"))
        assert result.zero_gradient is not None
        assert result.zero_gradient.all()
        assert context("l1", "2").threat_model.contains(result.x_adv, samples.x).all()


def test_no_samples_and_few_classes(context: Make) -> None:
    model = network(0, num_classes=2)
    x = torch.rand(6, 3, 5, 5)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1), tuple("abcdef"))
    for attack in ATTACKS:
        assert len(attack.run(model, samples.take(torch.zeros(0, dtype=torch.int64)), context("l1", "2")).x_adv) == 0
        assert broken(model, samples, attack.run(model, samples, context("l1", "5"))).sum() >= 5


def test_the_tables_give_it_under_l1() -> None:
    assert type(build(AttackSpec(name="apgd", args={}), "l1")) is L1APGD
    assert type(build(AttackSpec(name="apgd_targeted", args={}), "l1")) is TargetedL1APGD


@pytest.mark.parametrize("eps", ["1/2", "1"])
def test_it_agrees_with_the_official_code(context: Make, eps: str) -> None:
    """A random network where part of the samples survives, with the same restarts, targets and radii."""
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    model = network(4)
    x = torch.rand(100, 3, 5, 5)
    with torch.no_grad():
        samples = Samples(x, model(x).argmax(1), tuple(f"s{index}" for index in range(100)))
    here = context("l1", eps)
    pairs = [
        (L1APGD(APGDParams(restarts=2)), APGDAttack, {"n_restarts": 2}),
        (TargetedL1APGD(TargetedAPGDParams(n_target_classes=5)), APGDAttack_targeted, {"n_target_classes": 5}),
    ]
    for attack, theirs, args in pairs:
        ours = broken(model, samples, attack.run(model, samples, here))
        common = {"eps": here.threat_model.radius, "norm": "L1", "use_largereps": True, "device": "cpu"}
        reference = theirs(model, n_iter=100, **common, **args).perturb(x.clone(), samples.y.clone())
        with torch.no_grad():
            found = margin(model(reference), samples.y) > 0
        assert here.threat_model.contains(reference, x).all()
        assert 10 < int(found.sum()) < 90
        assert int(ours.sum()) >= int(found.sum()) - 1
        assert int((ours != found).sum()) <= 2
