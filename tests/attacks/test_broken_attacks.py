"""Attacks and models that break: their NaN, their points outside and their exceptions are errors, never robustness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import attacks
from bench.attacks.base import Attack, AttackContext, AttackResult, Samples
from bench.attacks.batch import Batch, Seen
from bench.attacks.ensemble import Ensemble
from bench.attacks.parameters import PGDParams, SquareParams
from bench.attacks.pgd import PGD
from bench.attacks.search_attack import Look
from bench.attacks.square import Square
from bench.errors import AttackError
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]
GRADIENT_ATTACKS = [
    (name, norm)
    for name, norms in {
        "fgsm": ("linf", "l2"),
        "bim": ("linf", "l2"),
        "mi_fgsm": ("linf", "l2"),
        "adam_pgd": ("linf",),
        "pgd": ("linf", "l2"),
        "cw": ("linf", "l2"),
        "ddn": ("l2",),
        "fmn": ("linf", "l2", "l1"),
        "deepfool": ("linf", "l2"),
        "apgd": ("linf", "l2", "l1"),
        "apgd_targeted": ("linf", "l2", "l1"),
        "malt": ("linf", "l2"),
        "fab": ("linf", "l2", "l1"),
        "fab_targeted": ("linf", "l2", "l1"),
        "autoattack": ("linf", "l2", "l1"),
        "cascade": ("linf", "l2"),
    }.items()
    for norm in norms
]


class NoGradient(torch.autograd.Function):
    """The identity, whose gradient is NaN in one pixel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        broken = gradients[0].clone()
        broken[-1, 0, 0, 0] = float("nan")
        return broken


class Breaks(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(NoGradient.apply(x))  # type: ignore[no-untyped-call]
        return logits


@pytest.mark.parametrize(("name", "norm"), GRADIENT_ATTACKS)
def test_a_gradient_that_is_not_finite_is_an_error(linear: Any, context: Make, name: str, norm: str) -> None:
    model = CountedModel(Breaks(linear.model.module), num_classes=4)
    attack = attacks.build(AttackSpec(id=None, name=name, backend=None, args={}), norm)
    with pytest.raises(AttackError, match="aren't finite"):
        attack.run(model, linear.samples, context(norm, {"linf": "1/50", "l2": "1/5", "l1": "1"}[norm]))


class Broken(PGD):
    """PGD that goes wrong at its seventh step."""

    how: Callable[[Batch], None]

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        super().step(batch, seen, look, context)
        if bool((batch.iteration == 6).any()):
            type(self).how(batch)


def gives_nan(batch: Batch) -> None:
    batch.x_adv = batch.x_adv.clone()
    batch.x_adv[0, 0, 0, 0] = float("nan")


def leaves(batch: Batch) -> None:
    batch.x_adv = batch.x_adv + 0.05


def stops(batch: Batch) -> None:
    raise RuntimeError("stopped at step 7")


class Stages(Ensemble):
    """Two stages, of which the first is the given one."""

    norms = ("linf",)

    def __init__(self, first: Attack) -> None:
        super().__init__(None)
        self.first = first

    @property
    def stages(self) -> tuple[tuple[str, Attack], ...]:
        return ("first", self.first), ("square", Square(SquareParams(n_queries=20)))


@pytest.mark.parametrize("search", ["first_success", "strongest"])
@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (gives_nan, AttackError, "aren't finite"),
        (leaves, AttackError, "left the threat model"),
        (stops, RuntimeError, "step 7"),
    ],
)
def test_a_stage_that_breaks_is_an_error_of_the_ensemble(
    linear: Any, context: Make, how: Callable[[Batch], None], error: type[Exception], words: str, search: str
) -> None:
    attack = type("Here", (Broken,), {"how": staticmethod(how)})(PGDParams(steps=7))
    with pytest.raises(error, match=words):
        Stages(attack).run(linear.model, linear.samples, context("linf", "1/200", search=search))


class Still(Attack):
    """Returns what it was given, and says on which samples it saw no gradient."""

    norms = ("linf",)

    def __init__(self, stuck: Tensor) -> None:
        super().__init__(None)
        self.stuck = stuck

    def run(self, model: Any, samples: Samples, context: AttackContext) -> AttackResult:
        result = AttackResult.untouched(samples)
        result.zero_gradient = self.stuck.clone()
        return result


class Pair(Stages):
    @property
    def stages(self) -> tuple[tuple[str, Attack], ...]:
        return ("first", self.first), ("pgd", PGD(PGDParams(steps=2)))


def test_a_sample_that_one_stage_could_move_is_not_stuck(linear: Any, context: Make) -> None:
    everywhere = Still(torch.ones(64, dtype=torch.bool))
    moved = Pair(everywhere).run(linear.model, linear.samples, context("linf", "1/1000"))
    assert moved.zero_gradient is not None
    assert not moved.zero_gradient.any()
    flat = CountedModel(Flat(), num_classes=4)
    samples = Samples(linear.samples.x, torch.zeros(64, dtype=torch.int64), linear.samples.ids)
    half = Still(torch.arange(64) % 2 == 0)
    stuck = Pair(half).run(flat, samples, context("linf", "1/1000"))
    assert stuck.zero_gradient is not None
    assert stuck.zero_gradient.tolist() == [index % 2 == 0 for index in range(64)]


class Flat(nn.Module):
    """Always the first class."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(x), 1) + 0 * x.flatten(1).sum(1, keepdim=True)
