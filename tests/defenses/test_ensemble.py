"""Ensembles of the zoo's MNIST models against an independent computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError
from scipy import special
from torch import Tensor
from torch.nn import functional as F

from bench import datasets, defenses, models
from bench.defenses.base import Rewiring
from bench.defenses.defended import DefendedModel
from bench.errors import BenchError
from bench.models.base import Setting
from bench.models.wrapper import CountedModel
from bench.runner.probe import fingerprint
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, DefenseSpec, ModelSpec

COMBINED: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "mean_probability": lambda logits: np.log(special.softmax(logits, axis=2).mean(0)),
    "mean_logits": lambda logits: logits.mean(0),
    "vote": lambda logits: np.eye(10)[logits.argmax(2)].sum(0) + special.softmax(logits, axis=2).mean(0),
}


def zoo(name: str) -> CountedModel:
    setting = Setting("mnist", "linf", 10, (1, 28, 28))
    return models.load(ModelSpec.model_validate(f"zoo:{name}"), setting, Places(), device="cpu")


def ensemble(combine: str, *members: CountedModel) -> Rewiring:
    args = {"members": ["zoo:mnist_pgd"] * max(1, len(members)), "combine": combine}
    built = defenses.build(DefenseSpec(id=None, name="ensemble", args=args))
    assert isinstance(built, Rewiring)
    if members:
        built.bind(members)
    return built


@pytest.fixture(scope="module")
def bare() -> CountedModel:
    return zoo("mnist_standard")


@pytest.fixture(scope="module")
def member() -> CountedModel:
    return zoo("mnist_pgd")


@pytest.fixture(scope="module")
def x() -> Tensor:
    """Digits under so much noise that the models disagree."""
    digits = datasets.load(DatasetSpec(name="mnist", samples=40), Places()).batch(range(40)).x
    return (digits + 0.6 * torch.randn(digits.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


@pytest.mark.parametrize("combine", COMBINED)
@pytest.mark.parametrize("knowledge", ["judge", "naive"])
def test_the_logits_are_those_of_all_models_combined(
    bare: CountedModel, member: CountedModel, x: Tensor, combine: str, knowledge: Any
) -> None:
    with torch.no_grad():
        each = np.stack([model(x).double().numpy() for model in (bare, member, member)])
        found = DefendedModel(bare, ensemble(combine, member, member)).seen_by(knowledge)(x)
    assert (each[0].argmax(1) != each[1].argmax(1)).sum() >= 3
    np.testing.assert_allclose(found, COMBINED[combine](each), atol=1e-4)


def test_ties_of_a_vote_go_to_the_more_probable_class(bare: CountedModel, member: CountedModel, x: Tensor) -> None:
    with torch.no_grad():
        winners = DefendedModel(bare, ensemble("vote", member))(x).argmax(1)
        probabilities = (bare(x).softmax(1) + member(x).softmax(1)) / 2
        voted = torch.stack([bare(x).argmax(1), member(x).argmax(1)])
    assert all(winner in pair for winner, pair in zip(winners.tolist(), voted.T.tolist(), strict=True))
    rows = torch.arange(len(x))
    assert torch.equal(probabilities[rows, winners], probabilities.gather(1, voted.T).amax(1))


@pytest.mark.parametrize("combine", COMBINED)
def test_the_adaptive_adversary_gets_the_gradient(
    bare: CountedModel, member: CountedModel, x: Tensor, combine: str
) -> None:
    y = torch.arange(len(x)) % 10
    point = x.clone().requires_grad_()
    adaptive = DefendedModel(bare, ensemble(combine, member)).seen_by("adaptive")
    assert adaptive.approximate  # a claim is verified on the real logits
    (found,) = torch.autograd.grad(F.cross_entropy(adaptive(point), y, reduction="sum"), point)
    if combine == "mean_logits":
        logits = (bare(point) + member(point)) / 2
    else:
        logits = ((bare(point).softmax(1) + member(point).softmax(1)) / 2).log()
    (wanted,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), point)
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))
    assert float(found.flatten(1).norm(dim=1).min()) > 0


def test_members_are_part_of_the_defended_model(bare: CountedModel, x: Tensor) -> None:
    own = zoo("mnist_pgd")
    own.passes = bare.passes
    target = DefendedModel(bare, ensemble("vote", own))
    before, counted = fingerprint(target), bare.passes.snapshot()
    target(x)
    assert bare.passes.snapshot().forward - counted.forward == 2 * len(x)
    assert fingerprint(target) == before == fingerprint(target.seen_by("adaptive"))
    target.microbatch = 7
    assert (bare.microbatch, own.microbatch) == (7, 7)
    target.microbatch = None
    with torch.no_grad():
        next(own.parameters()).flatten()[0] += 1
    assert fingerprint(target) != before
    assert fingerprint(target.seen_by("naive")) != before


def test_inside_a_chain_the_whole_ensemble_is_asked(bare: CountedModel, member: CountedModel, x: Tensor) -> None:
    votes = defenses.build(DefenseSpec(id=None, name="test_time_augmentation", args={"shift": 0}))
    with torch.no_grad():
        found = DefendedModel(bare, [votes, ensemble("mean_probability", member)])(x)
        each = [model(view).softmax(1) for view in (x, x.flip(3)) for model in (bare, member)]
    assert torch.allclose(found, torch.stack(each).mean(0).log(), atol=1e-4)


def test_what_an_ensemble_needs(bare: CountedModel) -> None:
    with pytest.raises(BenchError, match="Ensemble: asks other models beside the bare one, and none is bound"):
        DefendedModel(bare, ensemble("vote"))
    with pytest.raises(ValidationError, match="at least 1"):
        defenses.build(DefenseSpec(id=None, name="ensemble", args={"members": []}))
    with pytest.raises(ValidationError, match="members"):
        defenses.build(DefenseSpec(id=None, name="ensemble"))


def test_the_table_says_what_the_class_declares() -> None:
    built = ensemble("vote")
    assert dict(defenses.TABLE["ensemble"].facts) == {
        "kind": "rewiring",
        "differentiable": built.differentiable,
        "stochastic": built.stochastic,
        "rejects": built.rejects,
        "takes_models": ("members",),
    }
