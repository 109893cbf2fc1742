"""PGD with Adam's steps: against torch's own Adam, against a linear model, and past a detector that looks at pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import attacks
from bench.attacks.base import AttackContext, AttackResult, Samples
from bench.attacks.losses import margin
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]


def run(model: CountedModel, samples: Samples, context: AttackContext, **args: Any) -> AttackResult:
    attack = attacks.build(AttackSpec(id=None, name="adam_pgd", backend=None, args=args), context.threat_model.norm)
    return attack.run(model, samples, context)


@pytest.mark.parametrize("search", ["first_success", "strongest"])
@pytest.mark.parametrize("eps", ["1/100", "1/20"])
def test_breaks_exactly_what_can_be_broken(linear: Any, context: Make, eps: str, search: str) -> None:
    here = context("linf", eps, search=search)
    result = run(linear.model, linear.samples, here)
    with torch.no_grad():
        broken = linear.model(result.x_adv).argmax(1) != linear.samples.y
    ratio = linear.linf / here.threat_model.radius
    clear = (ratio - 1).abs() > 1e-3
    assert clear.sum() > 40
    assert torch.equal(broken[clear], (ratio < 1)[clear])
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()


@pytest.fixture
def images() -> tuple[CountedModel, Samples]:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(216, 5))
    model, x = CountedModel(network, num_classes=5), torch.rand(12, 3, 8, 8)
    with torch.no_grad():
        y = model(x).argmax(1)
    return model, Samples(x, y, tuple(f"s{index}" for index in range(12)))


def test_its_steps_are_those_of_adam(images: tuple[CountedModel, Samples], context: Make) -> None:
    model, samples = images
    here, steps = context("linf", "1/200", search="strongest", batch_size=5), 15
    result = run(model, samples, here, steps=steps)
    ball, best = here.threat_model, []
    for x, y in zip(samples.x, samples.y, strict=True):
        point = x[None].clone().requires_grad_()
        optimizer = torch.optim.Adam([point])
        losses: list[tuple[float, Tensor]] = []
        for step in range(1, steps + 1):
            loss = margin(model(point), y[None])
            losses.append((loss.item(), point.detach().clone()))
            (gradient,) = torch.autograd.grad(loss.sum(), point)
            point.grad = -gradient / gradient.norm()
            optimizer.param_groups[0]["lr"] = 0.25 * ball.radius * (1 - 0.9 * step / steps)
            optimizer.step()
            with torch.no_grad():
                point.copy_(ball.project(point, x[None]))
        losses.append((margin(model(point), y[None]).item(), point.detach().clone()))
        best.append(max(losses, key=lambda pair: pair[0])[1])
    # A gradient that is nearly zero has a sign that rounding decides, and Adam's first steps are as long as any.
    assert ((result.x_adv - torch.cat(best)).abs() < 1e-5).float().mean() > 0.99


def test_later_starts_are_random(images: tuple[CountedModel, Samples], context: Make) -> None:
    model, samples = images
    here = context("linf", "1/500", search="strongest")
    once, thrice = (run(model, samples, here, steps=3, restarts=count) for count in (1, 3))
    assert (thrice.iterations == 3 * once.iterations).all()
    with torch.no_grad():
        found = [margin(model(one.x_adv), samples.y) for one in (once, thrice)]
    assert (found[1] >= found[0] - 1e-6).all()


def test_a_gradient_of_zero_moves_nothing(context: Make) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([0 * x.sum((1, 2, 3)) + 1, 0 * x.sum((1, 2, 3))], dim=1)

    x = torch.rand(4, 1, 5, 5)
    samples = Samples(x, torch.zeros(4, dtype=torch.int64), tuple("abcd"))
    result = run(CountedModel(Flat(), num_classes=2), samples, context("linf", "1/10"), steps=4)
    assert torch.equal(result.x_adv, x)
    assert result.zero_gradient is not None
    assert bool(result.zero_gradient.all())
