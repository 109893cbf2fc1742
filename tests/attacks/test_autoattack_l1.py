"""AutoAttack and Square under L1 against the official code on a random network where part of the samples survives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bench import attacks
from bench.attacks.base import AttackContext, Samples
from bench.attacks.losses import margin
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]


def problem() -> tuple[CountedModel, Samples]:
    torch.manual_seed(4)
    network = nn.Sequential(nn.Flatten(), nn.Linear(75, 32), nn.ReLU(), nn.Linear(32, 10))
    model, x = CountedModel(network, num_classes=10), torch.rand(80, 3, 5, 5)
    with torch.no_grad():
        return model, Samples(x, model(x).argmax(1), tuple(f"s{index}" for index in range(80)))


def broken(model: CountedModel, samples: Samples, x_adv: torch.Tensor, context: AttackContext) -> torch.Tensor:
    with torch.no_grad():
        wrong = margin(model(x_adv), samples.y) > 0
    return wrong & context.threat_model.contains(x_adv, samples.x)


@pytest.mark.parametrize("eps", [pytest.param("1/2", marks=pytest.mark.slow), "3/4"])
def test_the_standard_ensemble_agrees(context: Make, eps: str) -> None:
    from pyautoattack import AutoAttack

    model, samples = problem()
    here = context("l1", eps)
    attack: Any = attacks.build(AttackSpec(name="autoattack", args={"n_queries": 100}), "l1")
    stages = dict(attack.stages)
    assert (stages["apgd-ce"].runs(10), stages["apgd-t"].runs(10), stages["fab-t"].runs(10)) == (5, 5, 9)
    ours = broken(model, samples, attack.run(model, samples, here).x_adv, here)
    theirs = AutoAttack(model, norm="L1", eps=here.threat_model.radius, seed=0, version="standard", device="cpu")
    theirs.verbose, theirs.square.n_queries = False, 100
    points, _ = theirs.run_standard_evaluation(samples.x.clone(), samples.y.clone(), batch_size=80)
    found = broken(model, samples, points, here)
    assert 10 < int(found.sum()) < 80
    assert int(ours.sum()) >= int(found.sum()) - 1
    assert int((ours != found).sum()) <= 1


def test_square_breaks_as_many(context: Make) -> None:
    from pyautoattack.square import SquareAttack

    model, samples = problem()
    here = context("l1", "2")
    attack = attacks.build(AttackSpec(name="square", args={"n_queries": 500}), "l1")
    ours = broken(model, samples, attack.run(model, samples, here).x_adv, here)
    theirs = SquareAttack(model, n_queries=500, eps=2.0, norm="L1", seed=0, device="cpu", resc_schedule=True)
    with torch.no_grad():
        found = broken(model, samples, theirs.perturb(samples.x.clone(), samples.y.clone()), here)
    assert int(found.sum()) > 10
    assert abs(int(ours.sum()) - int(found.sum())) <= 8
