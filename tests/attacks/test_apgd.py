"""APGD on the engine against a plain one for a single sample, written from the paper's algorithm 1."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.attacks.losses import LOSSES, dlr, margin, targeted_dlr
from bench.attacks.parameters import APGDParams, TargetedAPGDParams
from bench.models.wrapper import CountedModel
from bench.threat_models import build
from bench.threat_models.base import ThreatModel

Make = Callable[..., AttackContext]


def wavy(seed: int, num_classes: int = 5) -> CountedModel:
    """A smooth network whose loss goes up and down, so that step sizes are halved."""
    torch.manual_seed(seed)

    class Sine(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(4 * x)

    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 24), Sine(), nn.Linear(24, num_classes)).double()
    return CountedModel(network, num_classes=num_classes)


def plain_apgd(
    loss: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, ball: ThreatModel, steps: int, rho: float
) -> tuple[Tensor, float, list[float]]:
    """Algorithm 1 of arXiv:2003.01690 for one image: the best point, its loss, and the step size of every step."""
    # The published algorithm rounds its checkpoints; the official code counts windows in whole steps.
    window, checkpoints, end = max(int(0.22 * steps), 1), [], 0
    while end + window <= steps:
        end += window
        checkpoints.append(end)
        window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))

    def ascend(point: Tensor) -> tuple[float, Tensor]:
        here = point.clone().requires_grad_()
        value = loss(here)
        (gradient,) = torch.autograd.grad(value, here)
        return float(value.detach()), gradient

    size, sizes = 2 * ball.radius, []
    values = [ascend(start)[0]]
    best, best_loss = start, values[0]
    old, point, direction = start, start, ascend(start)[1]
    last_checkpoint, halved, loss_at_checkpoint = 0, True, values[0]
    best_direction = direction
    for k in range(steps):
        if k in checkpoints:
            rises = sum(values[i + 1] > values[i] for i in range(last_checkpoint, k))
            stalled = rises <= rho * (k - last_checkpoint)
            unmoved = not halved and loss_at_checkpoint >= best_loss
            halved = stalled or unmoved
            loss_at_checkpoint, last_checkpoint = best_loss, k
            if halved:
                size, point, direction = size / 2, best, best_direction
        sizes.append(size)
        z = ball.project(point + size * ball.ascend(direction), x)
        new = z if k == 0 else ball.project(point + 0.75 * (z - point) + 0.25 * (point - old), x)
        old, point = point, new
        value, direction = ascend(point)
        values.append(value)
        if value > best_loss:
            best, best_loss, best_direction = point, value, direction
    return best, best_loss, sizes


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    norm=st.sampled_from(["linf", "l2"]),
    loss=st.sampled_from(["ce", "dlr", "margin"]),
    steps=st.integers(1, 40),
    eps=st.sampled_from(["1/10", "1/3", "2"]),
)
def test_the_engine_does_what_the_paper_says(seed: int, norm: str, loss: str, steps: int, eps: str) -> None:
    model = wavy(seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(6, 3, 4, 4, generator=generator, dtype=torch.float64)
    y = model(x).argmax(1)
    ids = tuple(f"s{index}" for index in range(6))
    attack, function = APGD(APGDParams(steps=steps, loss=loss)), LOSSES[loss]
    ball, draws = build(norm, Fraction(eps)), Draws(seed, "apgd")
    result = attack.run(model, Samples(x, y, ids), AttackContext(ball, draws, "strongest", 4))
    with torch.no_grad():
        found, broken = function(model(result.x_adv), y), margin(model(result.x_adv), y) > 0
    for row in range(6):
        one, label = x[row : row + 1], y[row : row + 1]
        direction = ball.random_direction(one.shape[1:], draws.generators(ids[row : row + 1], restarts=[0])[0])
        start = ball.project(one + direction.to(one), one)
        best, best_loss, _ = plain_apgd(
            lambda p, label=label: function(model(p), label).sum(), one, start, ball, steps, 0.75
        )
        with torch.no_grad():
            plainly_broken = bool(margin(model(best), label) > 0)
        assert bool(broken[row]) >= plainly_broken
        # Where the label comes third, the DLR loss is 1 whatever happens: its gradient is a rounding error.
        if bool(broken[row]) == plainly_broken and not (loss == "dlr" and plainly_broken):
            assert float(found[row]) == pytest.approx(best_loss, rel=1e-3, abs=1e-5)


def test_checkpoints_are_those_of_the_official_code() -> None:
    windows = APGD(APGDParams(steps=100)).windows
    assert windows.nonzero().flatten().tolist() == [22, 41, 57, 70, 80, 87, 93, 99]
    assert windows[windows > 0].tolist() == [22, 19, 16, 13, 10, 7, 6, 6]


@pytest.mark.parametrize(("name", "norm"), [("apgd", "linf"), ("apgd", "l2"), ("targeted", "linf"), ("targeted", "l2")])
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_it_breaks_exactly_what_can_be_broken(linear: Any, context: Make, name: str, norm: str, search: str) -> None:
    here = context(norm, "1/50" if norm == "linf" else "1/5", search=search)
    attack = APGD(APGDParams(steps=20)) if name == "apgd" else TargetedAPGD(TargetedAPGDParams(steps=20))
    result = attack.run(linear.model, linear.samples, here)
    distance = linear.linf if norm == "linf" else linear.l2
    clear = (distance / here.threat_model.radius - 1).abs() > 1e-2
    with torch.no_grad():
        broken = linear.model(result.x_adv).argmax(1) != linear.samples.y
    assert clear.sum() > 40
    assert torch.equal(broken[clear], (distance < here.threat_model.radius)[clear])
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()


@pytest.mark.parametrize("attack", [APGD(APGDParams(steps=12)), TargetedAPGD(TargetedAPGDParams(steps=7, restarts=2))])
def test_batch_size_changes_nothing(linear: Any, context: Make, attack: APGD) -> None:
    results = [attack.run(linear.model, linear.samples, context(batch_size=size)) for size in (3, 16, 100)]
    for other in results[1:]:
        assert torch.allclose(results[0].x_adv, other.x_adv, atol=1e-6)
        assert torch.equal(results[0].forwards, other.forwards)
        assert torch.equal(results[0].iterations, other.iterations)


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_few_classes_work(num_classes: int) -> None:
    model = wavy(0, num_classes)
    x = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = Samples(x, model(x).argmax(1), tuple("abcdefgh"))
    ball = build("linf", Fraction(1, 5))
    for attack in (APGD(APGDParams(steps=20, loss="dlr")), TargetedAPGD(TargetedAPGDParams(steps=20))):
        result = attack.run(model, samples, AttackContext(ball, Draws(0, "x"), "first_success", 8))
        with torch.no_grad():
            assert (model(result.x_adv).argmax(1) != samples.y).sum() >= 4
        assert attack.runs(num_classes) == (1 if type(attack) is APGD else num_classes - 1)


def test_the_dlr_losses_are_the_papers() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0, -1.0], [0.0, 5.0, 4.0, 1.0, 2.0]])
    y, target = torch.tensor([0, 2]), torch.tensor([1, 4])
    assert dlr(logits, y).tolist() == pytest.approx([-(3 - 2) / (3 - 1), -(4 - 5) / (5 - 2)])
    expected = [-(3 - 1) / (3 - 0.5 * (1 + 0)), -(4 - 2) / (5 - 0.5 * (2 + 1))]
    assert targeted_dlr(logits, y, target).tolist() == pytest.approx(expected)
    assert torch.allclose(dlr(7 * logits, y), dlr(logits, y))
