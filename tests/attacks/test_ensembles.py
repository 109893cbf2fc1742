"""AutoAttack of our own, the cascade and MALT: targets, stages, records; against the official code on the same model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import attacks
from bench.attacks.autoattack import AutoAttack
from bench.attacks.base import AttackContext, AttackResult, Samples
from bench.attacks.cascade import Cascade
from bench.attacks.ensemble import STAGES
from bench.attacks.malt import MALT
from bench.attacks.parameters import AutoAttackParams, CascadeParams, MALTParams
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]


def broken(model: CountedModel, samples: Samples, result: AttackResult, context: AttackContext) -> Tensor:
    with torch.no_grad():
        wrong = model(result.x_adv).argmax(1) != samples.y
    return wrong & context.threat_model.contains(result.x_adv, samples.x)


def test_malt_goes_for_the_nearest_boundaries_of_a_linear_model() -> None:
    generator = torch.Generator().manual_seed(2)
    linear = nn.Linear(48, 7)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(7, 48, generator=generator) * torch.arange(1, 8)[:, None])
        linear.bias.zero_()
    model = CountedModel(nn.Sequential(nn.Flatten(), linear), num_classes=7)
    x = torch.rand(20, 3, 4, 4, generator=generator)
    y = model(x).argmax(1)
    model.passes.reset()
    ranking, backwards = MALT(MALTParams()).rank(model, x, y)
    assert (model.passes.forward, model.passes.backward, backwards) == (20, 120, 6)
    logits = model(x)
    differs = False
    for row in range(20):
        label = int(y[row])
        distance = {
            other: float(
                (logits[row, label] - logits[row, other]) / (linear.weight[label] - linear.weight[other]).norm()
            )
            for other in range(7)
            if other != label
        }
        wanted = sorted(distance, key=lambda other: distance[other])
        assert ranking[row].tolist() == [*wanted, label]
        differs |= wanted != [k for k in logits[row].argsort(descending=True).tolist() if k != label]
    assert differs  # from the order of the logits
    few, backwards = MALT(MALTParams(candidates=2)).rank(model, x, y)
    assert backwards == 2
    likeliest = logits.argsort(dim=1, descending=True)[:, 1:3]
    assert torch.equal(few[:, :2].sort(1).values, likeliest.sort(1).values)
    assert torch.equal(few.sort(1).values, torch.arange(7).expand(20, 7))


ENSEMBLES = [
    AutoAttack(AutoAttackParams(n_queries=50)),
    AutoAttack(AutoAttackParams(version="plus", n_queries=20)),
    AutoAttack(AutoAttackParams(version="rand", eot_iter=2)),
    Cascade(CascadeParams(steps=10, n_queries=50)),
]


@pytest.mark.parametrize("ensemble", ENSEMBLES, ids=["standard", "plus", "rand", "cascade"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", "1/50"), ("l2", "1/5")])
def test_what_can_be_broken_is_broken_and_the_stages_say_how(
    linear: Any, context: Make, ensemble: Any, norm: str, eps: str
) -> None:
    here = context(norm, eps)
    linear.model.passes.reset()
    result = ensemble.run(linear.model, linear.samples, here)
    counted = (linear.model.passes.forward, linear.model.passes.backward)
    found = broken(linear.model, linear.samples, result, here)
    ratio = (linear.linf if norm == "linf" else linear.l2) / here.threat_model.radius
    clear = (ratio - 1).abs() > 0.02
    assert torch.equal(found[clear], (ratio < 1)[clear])
    assert [bool(stage) for stage in result.stage] == found.tolist()
    left = 64
    for stage, (name, _) in zip(result.stages, ensemble.stages, strict=True):
        assert (stage.name, stage.attacked) == (name, left)
        assert stage.broken == result.stage.count(name)
        left -= stage.broken
    assert left == 64 - int(found.sum())
    assert result.forwards.sum() == counted[0]
    assert result.backwards.sum() <= counted[1]
    most = ensemble.passes(4)
    assert float(result.forwards.max()) <= most[0] + len(ensemble.stages)
    assert float(result.backwards.max()) <= most[1]


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_under_l1_what_can_be_broken_is_broken(linear: Any, context: Make, version: str) -> None:
    params = AutoAttackParams(version=version, n_queries=50, eot_iter=2 if version == "rand" else None)
    here, ensemble = context("l1", "3/4"), AutoAttack.create(params, norm="l1", backend=None)
    linear.model.passes.reset()
    result = ensemble.run(linear.model, linear.samples, here)
    assert result.forwards.sum() == linear.model.passes.forward
    found = broken(linear.model, linear.samples, result, here)
    ratio = linear.l1 / here.threat_model.radius
    clear = (ratio - 1).abs() > 0.02
    assert 10 < int((ratio < 1).sum()) < 60
    assert torch.equal(found[clear], (ratio < 1)[clear])
    assert [bool(stage) for stage in result.stage] == found.tolist()
    assert [stage.name for stage in result.stages] == list(STAGES[version])


def test_strongest_has_a_strong_point_for_every_sample(linear: Any, context: Make) -> None:
    here = context("linf", "1/50", search="strongest")
    result = ENSEMBLES[0].run(linear.model, linear.samples, here)
    distance = here.threat_model.distance(result.x_adv, linear.samples.x)
    assert torch.allclose(distance, torch.full_like(distance, 1 / 50), atol=1e-5)
    quick = ENSEMBLES[0].run(linear.model, linear.samples, context("linf", "1/50"))
    with torch.no_grad():
        loss = [
            torch.nn.functional.cross_entropy(linear.model(one.x_adv), linear.samples.y, reduction="none")
            for one in (quick, result)
        ]
    assert (loss[1] >= loss[0] - 1e-5).all()


def test_square_breaks_what_gradients_left(context: Make) -> None:
    class Masked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = (x * 50).round().flatten(1).mean(1) / 50
            return torch.stack([mean - 0.5, 0.5 - mean], dim=1) + 0 * x.sum((1, 2, 3))[:, None]

    model = CountedModel(Masked(), num_classes=2)
    x = 0.5 + 0.04 * torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = Samples(x, torch.zeros(30, dtype=torch.int64), tuple(f"s{index}" for index in range(30)))
    result = AutoAttack(AutoAttackParams(n_queries=300)).run(model, samples, context("linf", "1/10"))
    assert set(result.stage) == {"square"}
    assert [(stage.name, stage.broken) for stage in result.stages][-1] == ("square", 30)
    custom = AutoAttack(AutoAttackParams(version="custom", attacks=("apgd-ce", "fab-t")))
    blind = custom.run(model, samples, context("linf", "1/10"))
    assert set(blind.stage) == {""}
    assert blind.zero_gradient is not None
    assert blind.zero_gradient.all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_agrees_with_the_official_code(context: Make, norm: str) -> None:
    """A small trained-looking network, where part of the samples survives: sample by sample."""
    torch.manual_seed(4)
    network = nn.Sequential(nn.Flatten(), nn.Linear(75, 32), nn.ReLU(), nn.Linear(32, 10))
    model = CountedModel(network, num_classes=10)
    x = torch.rand(80, 3, 5, 5)
    with torch.no_grad():
        y = model(x).argmax(1)
    samples = Samples(x, y, tuple(f"s{index}" for index in range(80)))
    here = context(norm, "1/100" if norm == "linf" else "1/20")
    verdicts = []
    for backend in ("bench", "autoattack"):
        spec = AttackSpec(name="autoattack", backend=backend, args={"n_queries": 200})
        verdicts.append(broken(model, samples, attacks.build(spec, norm).run(model, samples, here), here))
    assert 15 < int(verdicts[1].sum()) < 65
    assert (verdicts[0] != verdicts[1]).sum() <= 1
    cascade = attacks.build(AttackSpec(name="cascade", args={}), norm).run(model, samples, here)
    assert int(broken(model, samples, cascade, here).sum()) >= int(verdicts[1].sum())


def interval_bounds(network: nn.Sequential, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Interval bound propagation (Gowal et al. 2018, arXiv:1810.12715) through linear layers and ReLUs."""
    for layer in network:
        if isinstance(layer, nn.ReLU | nn.Flatten):
            low, high = layer(low), layer(high)
        else:
            centre, reach = (low + high) / 2, (high - low) / 2
            size = nn.functional.linear(reach, layer.weight.abs())  # type: ignore[operator, arg-type]
            middle = layer(centre)
            low, high = middle - size, middle + size
    return low, high


def test_nothing_that_is_certified_is_ever_broken(context: Make) -> None:
    """Interval bounds prove some samples robust: an attack that breaks one is wrong."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 4))
    model = CountedModel(network, num_classes=4)
    x = torch.rand(200, 3, 4, 4)
    with torch.no_grad():
        y = model(x).argmax(1)
        here = context("linf", "1/200")
        low, high = interval_bounds(network, (x - 1 / 200).clamp(0, 1), (x + 1 / 200).clamp(0, 1))
        others = high.scatter(1, y[:, None], -torch.inf).amax(1)
        certified = low.gather(1, y[:, None]).squeeze(1) > others
    samples = Samples(x, y, tuple(f"s{index}" for index in range(200)))
    assert 20 < int(certified.sum()) < 200
    for name in ("fgsm", "pgd", "apgd", "apgd_targeted", "fab", "fab_targeted", "square", "autoattack", "cascade"):
        args = {"n_queries": 100} if name in ("autoattack", "cascade", "square") else {}
        attack = attacks.build(AttackSpec(name=name, args=args), "linf")
        found = broken(model, samples, attack.run(model, samples, here), here)
        assert not (found & certified).any(), name
    assert found.any()
