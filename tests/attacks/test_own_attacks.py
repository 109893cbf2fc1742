"""FGSM, PGD and CW-Linf against a linear model, where the exact answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import attacks
from bench.attacks.base import AttackContext, AttackResult
from bench.errors import AttackError
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]


def run(case: Any, context: AttackContext, name: str, **args: Any) -> AttackResult:
    attack = attacks.build(AttackSpec(id=None, name=name, backend=None, args=args), context.threat_model.norm)
    return attack.run(case.model, case.samples, context)


def broken(case: Any, result: AttackResult) -> torch.Tensor:
    with torch.no_grad():
        return case.model(result.x_adv).argmax(1) != case.samples.y


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("fgsm", {}),
        ("pgd", {"steps": 10}),
        ("pgd", {"steps": 20, "loss": "margin", "step_rule": "cosine"}),
        ("cw", {"steps": 20}),
        ("pgd", {"steps": 20, "restarts": 3}),
    ],
)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
@pytest.mark.parametrize("eps", ["1/100", "1/50", "1/20"])
def test_linf_breaks_exactly_what_can_be_broken(
    linear: Any, context: Make, name: str, args: dict[str, Any], search: str, eps: str
) -> None:
    here = context("linf", eps, search=search)
    result = run(linear, here, name, **args)
    expected = linear.linf < here.threat_model.radius
    clear = (linear.linf / here.threat_model.radius - 1).abs() > 1e-3
    assert clear.sum() > 50
    assert torch.equal(broken(linear, result)[clear], expected[clear])
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()


@pytest.mark.parametrize(("name", "args"), [("fgsm", {}), ("pgd", {"steps": 20})])
@pytest.mark.parametrize("eps", ["1/10", "1/5"])
def test_l2_breaks_exactly_what_can_be_broken(
    linear: Any, context: Make, name: str, args: dict[str, Any], eps: str
) -> None:
    here = context("l2", eps)
    result = run(linear, here, name, **args)
    expected = linear.l2 < here.threat_model.radius
    clear = (linear.l2 / here.threat_model.radius - 1).abs() > 1e-2
    assert clear.sum() > 40
    assert torch.equal(broken(linear, result)[clear], expected[clear])
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()


@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_batch_size_changes_nothing(linear: Any, context: Make, search: str) -> None:
    results = [
        run(linear, context("linf", "1/50", search=search, batch_size=size), "pgd", steps=7, restarts=2)
        for size in (3, 16, 100, 512)
    ]
    for other in results[1:]:
        assert torch.allclose(results[0].x_adv, other.x_adv, atol=1e-6)
        assert torch.equal(results[0].iterations, other.iterations)
        assert torch.equal(results[0].forwards, other.forwards)
        assert torch.equal(results[0].backwards, other.backwards)


def test_the_order_of_samples_changes_nothing(linear: Any, context: Make) -> None:
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    straight = run(linear, context(), "pgd", steps=5)
    linear.samples = linear.samples.take(order)
    shuffled = run(linear, context(), "pgd", steps=5)
    assert torch.allclose(straight.x_adv[order], shuffled.x_adv, atol=1e-6)


def test_another_seed_starts_elsewhere(linear: Any, context: Make) -> None:
    first = run(linear, context(search="strongest", eps="1/1000"), "pgd", steps=1, alpha=1e-6)
    second = run(linear, context(search="strongest", eps="1/1000", seed=1), "pgd", steps=1, alpha=1e-6)
    assert not torch.allclose(first.x_adv, second.x_adv, atol=1e-5)


def test_passes_are_counted_per_sample_and_agree_with_the_model(linear: Any, context: Make) -> None:
    linear.model.passes.reset()
    result = run(linear, context(search="strongest"), "pgd", steps=6, restarts=2)
    assert result.forwards.tolist() == [14.0] * 64
    assert result.backwards.tolist() == [12.0] * 64
    assert result.iterations.tolist() == [12] * 64
    assert linear.model.passes.forward == 64 * 14
    early = run(linear, context(eps="1/5"), "pgd", steps=50)
    assert float(early.forwards.max()) < 20


def test_strongest_keeps_the_highest_loss(linear: Any, context: Make) -> None:
    fast = run(linear, context(eps="1/20"), "pgd", steps=20)
    full = run(linear, context(eps="1/20", search="strongest"), "pgd", steps=20)
    with torch.no_grad():
        loss = [
            torch.nn.functional.cross_entropy(linear.model(one.x_adv), linear.samples.y, reduction="none")
            for one in (fast, full)
        ]
    assert (loss[1] >= loss[0] - 1e-6).all()
    assert float((loss[1] - loss[0]).max()) > 0.01


class Nan(torch.nn.Module):
    """Finite on the clean images, NaN as soon as a pixel moves."""

    def __init__(self, clean: torch.Tensor) -> None:
        super().__init__()
        self.clean = clean

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = torch.stack([x.flatten(1).sum(1) * 0 + 1, x.flatten(1).sum(1) * 0], dim=1)
        moved = (x.detach().mean((1, 2, 3)) - self.clean.mean((1, 2, 3))[: len(x)]).abs() > 1e-7
        return torch.where(moved[:, None], torch.full_like(logits, float("nan")), logits)


def test_logits_that_are_not_finite_are_an_error_not_robustness(linear: Any, context: Make) -> None:
    linear.model = CountedModel(Nan(linear.samples.x), num_classes=2)
    linear.samples = type(linear.samples)(linear.samples.x, torch.zeros(64, dtype=torch.int64), linear.samples.ids)
    with pytest.raises(AttackError, match="aren't finite"):
        run(linear, context(), "pgd", steps=3)


class Tight(torch.nn.Module):
    """Runs out of memory beyond a batch."""

    def __init__(self, inner: torch.nn.Module, limit: int) -> None:
        super().__init__()
        self.inner, self.limit, self.seen = inner, limit, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        self.seen = max(self.seen, len(x))
        logits: torch.Tensor = self.inner(x)
        return logits


def test_out_of_memory_halves_the_batch_and_loses_nothing(linear: Any, context: Make) -> None:
    whole = run(linear, context("linf", "1/50"), "pgd", steps=6)
    linear.model = CountedModel(Tight(linear.model.module, 9), num_classes=4)
    cut = run(linear, context("linf", "1/50"), "pgd", steps=6)
    assert torch.allclose(whole.x_adv, cut.x_adv, atol=1e-6)
    assert torch.equal(whole.forwards, cut.forwards)
    linear.model = CountedModel(Tight(linear.model.module, 0), num_classes=4)
    with pytest.raises(torch.OutOfMemoryError):
        run(linear, context("linf", "1/50"), "pgd", steps=6)


def test_a_pinned_batch_shrinks_when_memory_runs_out(linear: Any, context: Make) -> None:
    whole = run(linear, context("linf", "1/50"), "pgd", steps=6)
    linear.model = CountedModel(Tight(linear.model.module, 9), num_classes=4)
    cut = run(linear, replace(context("linf", "1/50"), pinned=True), "pgd", steps=6)
    assert torch.allclose(whole.x_adv, cut.x_adv, atol=1e-6)
    assert linear.model.module.seen == 8


class Partly(torch.nn.Module):
    """The linear model behind a rounding that hides the gradient of every second sample."""

    def __init__(self, inner: torch.nn.Module, hidden: torch.Tensor) -> None:
        super().__init__()
        self.inner, self.hidden = inner, hidden

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = (x.detach()[:, None] == self.hidden[None]).flatten(2).all(2).any(1)
        logits: torch.Tensor = self.inner(torch.where(hidden.view(-1, 1, 1, 1), x.detach(), x))
        return logits


def test_samples_without_a_gradient_are_told_apart(linear: Any, context: Make) -> None:
    """Only those where the attack never moved count: the others have a gradient."""
    linear.model = CountedModel(Partly(linear.model.module, linear.samples.x[::2]), num_classes=4)
    result = run(linear, context(), "pgd", steps=3, random_start=False)
    assert result.zero_gradient is not None
    assert result.zero_gradient.tolist() == [index % 2 == 0 for index in range(64)]
    moved = run(linear, context(), "pgd", steps=3)
    assert moved.zero_gradient is not None
    assert not moved.zero_gradient.any()
