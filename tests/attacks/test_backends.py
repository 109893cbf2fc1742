"""The libraries' attacks through their adapters, on a linear model whose minimal distances are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bench import attacks
from bench.attacks.base import AttackContext, AttackResult
from bench.errors import AttackError
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]


def run(case: Any, context: AttackContext, name: str, backend: str | None = None, **args: Any) -> AttackResult:
    attack = attacks.build(AttackSpec(id=None, name=name, backend=backend, args=args), context.threat_model.norm)
    return attack.run(case.model, case.samples, context)


def broken(case: Any, x_adv: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return case.model(x_adv).argmax(1) != case.samples.y


@pytest.mark.parametrize("backend", ["foolbox", "art"])
@pytest.mark.parametrize("name", ["fgsm", "pgd"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fixed_eps_attacks_break_exactly_what_can_be_broken(
    linear: Any, context: Make, backend: str, name: str, norm: str
) -> None:
    here = context(norm, "1/50" if norm == "linf" else "1/5")
    result = run(linear, here, name, backend)
    distance = linear.linf if norm == "linf" else linear.l2
    clear = (distance / here.threat_model.radius - 1).abs() > 0.03
    assert clear.sum() > 40
    assert torch.equal(broken(linear, result.x_adv)[clear], (distance < here.threat_model.radius)[clear])
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()
    assert float(result.forwards.min()) >= 1
    assert float(result.backwards.min()) >= 1
    assert result.iterations.tolist() == [-1] * 64


@pytest.mark.parametrize("backend", ["foolbox", pytest.param("art", marks=pytest.mark.slow)])
def test_carlini_wagner_finds_the_minimal_distance(linear: Any, context: Make, backend: str) -> None:
    chosen = (linear.l2 > 0.1).nonzero().flatten()[:12]
    linear.samples = linear.samples.take(chosen)
    result = run(linear, context("l2", "1"), "cw", backend, steps=200, stepsize=0.01)
    success = broken(linear, result.x_adv)
    assert success.sum() >= 11
    found = (result.x_adv - linear.samples.x).flatten(1).norm(dim=1)[success]
    expected = linear.l2[chosen][success]
    assert (found >= expected * (1 - 1e-3)).all()
    assert float((found / expected).median()) < 1.05


@pytest.mark.parametrize(("norm", "eps"), [("linf", "1/50"), ("l2", "1/5")])
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_autoattack_breaks_exactly_what_can_be_broken(
    linear: Any, context: Make, norm: str, eps: str, search: str
) -> None:
    here = context(norm, eps, search=search)
    result = run(linear, here, "autoattack", "autoattack", n_queries=50)
    distance = linear.linf if norm == "linf" else linear.l2
    clear = (distance / here.threat_model.radius - 1).abs() > 0.01
    expected = distance < here.threat_model.radius
    assert torch.equal(broken(linear, result.x_adv)[clear], expected[clear])
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()
    assert [stage.name for stage in result.stages] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    attacked = [stage.attacked for stage in result.stages]
    assert attacked == [64 - sum(stage.broken for stage in result.stages[:index]) for index in range(4)]
    assert [bool(stage) for stage in result.stage] == broken(linear, result.x_adv).tolist()


def test_autoattack_agrees_with_the_librarys_own_evaluation(linear: Any, context: Make) -> None:
    from pyautoattack import AutoAttack

    here = context("linf", "1/50")
    result = run(linear, here, "autoattack", "autoattack", n_queries=50)
    reference = AutoAttack(linear.model, norm="Linf", eps=1 / 50, seed=0, version="standard")
    reference.fab.n_target_classes = reference.apgd_targeted.n_target_classes = 3
    reference.square.n_queries = 50
    x_adv, _ = reference.run_standard_evaluation(linear.samples.x, linear.samples.y, batch_size=64)
    assert int((broken(linear, result.x_adv) != broken(linear, x_adv)).sum()) <= 1


def test_custom_stages_and_few_classes(linear: Any, context: Make) -> None:
    result = run(
        linear, context(), "autoattack", "autoattack", version="custom", attacks=["square", "apgd-ce"], n_queries=20
    )
    assert [stage.name for stage in result.stages] == ["square", "apgd-ce"]

    class Two(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.inner(x)
            return logits[:, :2]

    linear.model = CountedModel(Two(linear.model.module), num_classes=2)
    with pytest.raises(AttackError, match="at least 4 classes, the model has 2"):
        run(linear, context(), "autoattack", "autoattack")
    few = run(
        linear,
        context(),
        "autoattack",
        "autoattack",
        version="custom",
        attacks=["apgd-ce", "fab", "square"],
        n_queries=20,
    )
    expected = linear.linf < 1 / 50
    clear = (linear.linf * 50 - 1).abs() > 0.01
    assert torch.equal(broken(linear, few.x_adv)[clear], expected[clear])


def test_stages_go_with_custom_and_custom_with_stages(linear: Any, context: Make) -> None:
    with pytest.raises(ValidationError, match="needs attacks"):
        run(linear, context(), "autoattack", "autoattack", version="custom")
    with pytest.raises(ValidationError, match="goes with version custom"):
        run(linear, context(), "autoattack", "autoattack", version="plus", attacks=["square"])


def test_square_takes_no_gradient(linear: Any, context: Make) -> None:
    result = run(linear, context("linf", "1/10"), "square", n_queries=300)
    assert result.backwards.sum() == 0
    easy = linear.linf < 1 / 30
    assert broken(linear, result.x_adv)[easy].float().mean() > 0.9
    assert not broken(linear, result.x_adv)[linear.linf > 1 / 9].any()


@pytest.mark.parametrize(("name", "backend"), [("pgd", "foolbox"), ("pgd", "art"), ("autoattack", "autoattack")])
def test_library_attacks_repeat_and_leave_the_global_generators_alone(
    linear: Any, context: Make, name: str, backend: str
) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(1)
    np.random.seed(1)
    args: dict[str, Any] = {"n_queries": 20} if name == "autoattack" else {"steps": 3}
    first = run(linear, context(), name, backend, **args)
    assert torch.equal(torch.rand(1), expected[0])
    assert np.random.rand() == expected[1]
    torch.manual_seed(99)
    again = run(linear, context(), name, backend, **args)
    assert torch.equal(first.x_adv, again.x_adv)


def test_out_of_memory_cuts_the_passes_and_changes_nothing(linear: Any, context: Make) -> None:
    whole = run(linear, context(), "pgd", "foolbox", steps=5)

    class Tight(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 10:
                raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
            logits: torch.Tensor = self.inner(x)
            return logits

    linear.model = CountedModel(Tight(linear.model.module), num_classes=4)
    cut = run(linear, context(), "pgd", "foolbox", steps=5)
    assert linear.model.microbatch == 8
    assert torch.allclose(whole.x_adv, cut.x_adv, atol=1e-6)


def test_warnings_of_autoattack_become_flags(linear: Any, context: Make) -> None:
    class Flat(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1.0, 0, 0, 0, 0]).repeat(len(x), 1) + 0 * x.flatten(1).sum(1, keepdim=True)

    linear.model = CountedModel(Flat(), num_classes=5)
    linear.samples = type(linear.samples)(linear.samples.x, torch.zeros(64, dtype=torch.int64), linear.samples.ids)
    result = run(linear, context(), "autoattack", "autoattack", version="custom", attacks=["apgd-dlr"])
    assert any("zero gradient" in flag.message for flag in result.flags)
    assert all(flag.severity == "warning" for flag in result.flags)
