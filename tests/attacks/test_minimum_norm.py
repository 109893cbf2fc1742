"""Minimum-norm attacks on a linear model whose minimal distances are known, and against foolbox on real weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from bench import attacks, models
from bench.attacks.base import AttackContext, AttackResult, Samples
from bench.models.base import Setting
from bench.models.wrapper import CountedModel
from bench.suites.places import Places
from bench.suites.spec import AttackSpec, ModelSpec

Make = Callable[..., AttackContext]
ATTACKS = [
    ("ddn", "l2"),
    ("fmn", "l2"),
    ("fmn", "linf"),
    ("fmn", "l1"),
    ("deepfool", "l2"),
    ("deepfool", "linf"),
    ("cw", "l2"),
]
FEW: dict[str, dict[str, Any]] = {"cw": {"binary_search_steps": 3, "steps": 30, "initial_const": 0.1}}
"""Smaller budgets where the distance doesn't matter."""


def run(case: Any, context: AttackContext, name: str, **args: Any) -> AttackResult:
    attack = attacks.build(AttackSpec(id=None, name=name, backend=None, args=args), context.threat_model.norm)
    assert attack.minimum_norm
    return attack.run(case.model, case.samples, context)


def broken(case: Any, result: AttackResult) -> Tensor:
    with torch.no_grad():
        return case.model(result.x_adv).argmax(1) != case.samples.y


def least(case: Any, norm: str) -> Tensor:
    distance: Tensor = case.least(norm)
    return distance


@pytest.mark.parametrize(("name", "norm"), ATTACKS)
def test_the_distance_is_within_a_hundredth_of_the_minimal_one(
    linear: Any, context: Make, name: str, norm: str
) -> None:
    here = context(norm, "1/1000", search="strongest")
    result = run(linear, here, name)
    assert broken(linear, result).all()
    ratio = here.threat_model.distance(result.x_adv, linear.samples.x) / least(linear, norm)
    assert float(ratio.min()) > 0.999
    assert float(ratio.max()) < 1.01
    assert float(result.x_adv.min()) >= 0
    assert float(result.x_adv.max()) <= 1


@pytest.mark.parametrize(("name", "norm"), ATTACKS)
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_first_success_breaks_exactly_what_can_be_broken(
    linear: Any, context: Make, name: str, norm: str, scale: float
) -> None:
    distance = least(linear, norm)
    here = context(norm, str(round(scale * float(distance.median()), 4)))
    result = run(linear, here, name)
    success = broken(linear, result) & here.threat_model.contains(result.x_adv, linear.samples.x)
    clear = (distance / here.threat_model.radius - 1).abs() > 0.015
    assert int(clear.sum()) > 40
    assert torch.equal(success[clear], (distance < here.threat_model.radius)[clear])


@pytest.mark.parametrize(("name", "norm"), ATTACKS)
def test_a_success_inside_eps_ends_the_search(linear: Any, context: Make, name: str, norm: str) -> None:
    full = run(linear, context(norm, "1/1000"), name)
    early = run(linear, context(norm, "5"), name)
    assert broken(linear, early).all()
    assert (early.forwards <= full.forwards).all()
    assert float(early.forwards.mean()) < 0.8 * float(full.forwards.mean())


@pytest.mark.parametrize(("name", "norm"), ATTACKS)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_batch_size_and_order_change_nothing(linear: Any, context: Make, name: str, norm: str, search: str) -> None:
    eps, args = {"linf": "1/50", "l2": "1/5", "l1": "3/4"}[norm], FEW.get(name, {})
    results = [run(linear, context(norm, eps, search=search, batch_size=size), name, **args) for size in (3, 16, 100)]
    clean, distance = linear.samples.x, context(norm, eps).threat_model.distance

    def same(one: Tensor, other: Tensor, x: Tensor) -> bool:
        if norm == "l1":  # steps change few pixels: a rounding error chooses which, and one of 64 goes another way
            apart = (distance(one, x) - distance(other, x)).abs()
            inside = [distance(points, x) <= context(norm, eps).threat_model.radius for points in (one, other)]
            return torch.equal(*inside) and int((apart > 1e-4).sum()) <= 1 and float(apart.max()) < 1e-3
        return torch.allclose(one, other, atol=1e-5)

    for other in results[1:]:
        assert same(results[0].x_adv, other.x_adv, clean)
        assert int((results[0].backwards != other.backwards).sum()) <= (1 if norm == "l1" else 0)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    linear.samples = linear.samples.take(order)
    shuffled = run(linear, context(norm, eps, search=search), name, **args)
    assert same(results[0].x_adv[order], shuffled.x_adv, clean[order])


class Flat(nn.Module):
    """Always the first class."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0]).repeat(len(x), 1) + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize(("name", "norm"), ATTACKS)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_a_model_without_gradient_is_no_success(linear: Any, context: Make, name: str, norm: str, search: str) -> None:
    linear.model = CountedModel(Flat(), num_classes=3)
    linear.samples = Samples(linear.samples.x, torch.zeros(64, dtype=torch.int64), linear.samples.ids)
    result = run(linear, context(norm, search=search), name, **FEW.get(name, {}))
    assert torch.equal(result.x_adv, linear.samples.x)
    assert result.zero_gradient is not None
    assert result.zero_gradient.all()


class Sides(nn.Module):
    """Two classes with black and white images, and a gradient that vanishes on one side of the boundary."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1).mean(1) - 0.5
        if self.flat:
            value = value.clamp_max(0.1)
        return torch.stack([-value, value], dim=1)


@pytest.mark.parametrize(("name", "norm"), ATTACKS)
@pytest.mark.parametrize("flat", [False, True])
def test_two_classes_at_the_bounds(linear: Any, context: Make, name: str, norm: str, flat: bool) -> None:
    """Black pixels far from the boundary: they stay inside, and the distance is known.

    Black pixels next to others hardly move under Carlini-Wagner's change of variable, so that its distance is larger.
    """
    x = torch.zeros(4, 3, 4, 4)
    x[1:, :, :, 1:] = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1, 1)
    linear.model = CountedModel(Sides(flat), num_classes=2)
    linear.samples = Samples(x, torch.zeros(4, dtype=torch.int64), ("a", "b", "c", "d"))
    args = {"initial_const": 10.0, "steps": 300} if name == "cw" else {}
    here = context(norm, "1/10", search="strongest")
    result = run(linear, here, name, **args)
    assert torch.isfinite(result.x_adv).all()
    assert float(result.x_adv.min()) >= 0
    assert float(result.x_adv.max()) <= 1
    assert broken(linear, result).all()
    short = 0.5 - x.flatten(1).mean(1)
    expected = short * {"linf": 1, "l2": 48**0.5, "l1": 48}[norm]
    assert (here.threat_model.distance(result.x_adv, x) < (1.2 if name == "cw" else 1.03) * expected).all()


def test_confidence_asks_for_a_margin(linear: Any, context: Make) -> None:
    """Where it can be had, the kept point has the margin; the distance grows with it."""
    linear.samples = linear.samples.take((linear.l2 > 0.1).nonzero().flatten()[:16])
    found = {}
    for kappa in (0.0, 2.0):
        result = run(linear, context("l2", "1", search="strongest"), "cw", confidence=kappa, initial_const=0.1)
        with torch.no_grad():
            logits = linear.model(result.x_adv)
        label = logits.gather(1, linear.samples.y[:, None]).squeeze(1)
        margin = logits.scatter(1, linear.samples.y[:, None], -torch.inf).amax(1) - label
        assert (margin >= kappa).all()
        found[kappa] = (result.x_adv - linear.samples.x).flatten(1).norm(dim=1)
    assert (found[2.0] > found[0.0]).all()


def test_passes_are_counted_and_bounded(linear: Any, context: Make) -> None:
    for name, norm in ATTACKS:
        args = FEW.get(name, {})
        attack = attacks.build(AttackSpec(id=None, name=name, backend=None, args=args), norm)
        linear.model.passes.reset()
        result = attack.run(linear.model, linear.samples, context(norm, search="strongest"))
        forwards, backwards = attack.passes(4)
        assert float(result.forwards.max()) <= forwards
        assert float(result.backwards.max()) <= backwards
        assert linear.model.passes.forward == int(result.forwards.sum())
        if name == "deepfool":
            assert (result.backwards % 3 == 0).all()


def test_the_line_search_shortens_and_can_be_switched_off(linear: Any, context: Make) -> None:
    here = context("l2", "1", search="strongest")
    plain = here.threat_model.distance(run(linear, here, "deepfool", line_search=0).x_adv, linear.samples.x)
    assert torch.allclose(plain / linear.l2, torch.tensor(1.02), atol=1e-3)
    short = here.threat_model.distance(run(linear, here, "deepfool").x_adv, linear.samples.x)
    assert (short < plain).all()


def _loaded(shared: Path, weights: str) -> tuple[CountedModel, Samples]:
    """A real model and the first 32 images that it classifies correctly."""
    entry = yaml.safe_load(
        f"{{source: checkpoint, weights: {shared}/models/{weights}, architecture: wong_kolter, "
        "mean: [.485, .456, .406], std: [.225, .225, .225]}"
    )
    setting = Setting("cifar10", "linf", 10, (3, 32, 32))
    model: Any = models.load(ModelSpec.model_validate(entry), setting, Places(download=False), device="cpu")
    images = np.load(shared / "cifar10" / "cifar10_test_0_511.npz")
    x, y = torch.from_numpy(images["x"].astype(np.float32) / 255), torch.from_numpy(images["y"].astype(np.int64))
    with torch.no_grad():
        rows = (model(x[:64]).argmax(1) == y[:64]).nonzero().flatten()[:32]
    return model, Samples(x[rows], y[rows], tuple(map(str, rows.tolist())))


def _median(model: nn.Module, samples: Samples, x_adv: Tensor, context: AttackContext) -> float:
    distance = context.threat_model.distance(x_adv, samples.x)
    with torch.no_grad():
        distance[model(x_adv).argmax(1) == samples.y] = torch.inf
    return float(distance.median())


@pytest.mark.shared_data
@pytest.mark.parametrize("weights", ["cifar_sgd_8px.pth", "cifar_wide_kw.pth"])
@pytest.mark.parametrize(
    ("name", "norm", "theirs", "args"),
    [
        ("ddn", "l2", "DDNAttack", {"steps": 60}),
        ("fmn", "l2", "L2FMNAttack", {"steps": 60}),
        ("fmn", "linf", "LInfFMNAttack", {"steps": 60}),
        ("fmn", "l1", "L1FMNAttack", {"steps": 60}),
        ("deepfool", "l2", "L2DeepFoolAttack", {"steps": 50, "candidates": 10, "overshoot": 0.02}),
        ("deepfool", "linf", "LinfDeepFoolAttack", {"steps": 50, "candidates": 10, "overshoot": 0.02}),
        ("cw", "l2", "L2CarliniWagnerAttack", {"steps": 40, "binary_search_steps": 5, "initial_const": 0.1}),
    ],
)
def test_distances_are_no_larger_than_foolboxs(
    shared: Path, context: Make, weights: str, name: str, norm: str, theirs: str, args: dict[str, Any]
) -> None:
    """At the same steps; foolbox's are the reference for the formulas, ours adds a few forward passes in the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        foolbox = import_module("foolbox")
    model, samples = _loaded(shared, weights)
    here = context(norm, "1/255", search="strongest")
    attack = attacks.build(AttackSpec(id=None, name=name, backend=None, args=args), norm)
    ours = _median(model, samples, attack.run(model, samples, here).x_adv, here)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    reference = getattr(foolbox.attacks, theirs)(**args).run(wrapped, samples.x.clone(), samples.y)
    assert 0 < ours <= 1.01 * _median(model, samples, reference, here)


@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_a_pinned_batch_leaves_l1_nothing_to_chance(
    linear: Any, context: Make, search: str, needs_steady_kernels: Callable[[CountedModel, Tensor], None]
) -> None:
    """With the batch shape fixed, even the attack that a rounding error turns aside goes the same way."""
    needs_steady_kernels(linear.model, linear.samples.x)
    here = replace(context("l1", "3/4", search=search, batch_size=16), pinned=True)
    attack = attacks.build(AttackSpec(name="fmn", args=FEW.get("fmn", {})), "l1")
    whole = attack.run(linear.model, linear.samples, here)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = attack.run(linear.model, linear.samples.take(order), here)
    assert torch.equal(whole.x_adv[order], shuffled.x_adv)
    assert torch.equal(whole.backwards[order], shuffled.backwards)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_deepfool_goes_past_the_boundary_where_bounds_stop_its_overshoot(context: Make, norm: str) -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = 10 * x.flatten(1).mean(1)
            return torch.stack([torch.full_like(mean, 8.0), mean], dim=1)

    x = torch.full((7, 1, 4, 4), 0.5)
    x[:, :, :2] = 1.0  # these can't become brighter, so that every step goes half of the way that is left
    x[:, :, 2:] += torch.linspace(0, 0.03, 7).view(7, 1, 1, 1)
    model, here = CountedModel(Bright(), num_classes=2), context(norm, "1", search="strongest")
    samples = Samples(x, torch.zeros(7, dtype=torch.int64), tuple("abcdefg"))
    attack = attacks.build(AttackSpec(name="deepfool", args={"line_search": 0}), norm)
    logits = model(attack.run(model, samples, here).x_adv)
    assert ((logits[:, 1] - logits[:, 0]) > 1e-5 * 8).all()
