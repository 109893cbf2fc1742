"""BIM and MI-FGSM against a linear model, where the exact answer is known, and against the formulas of their papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import attacks
from bench.attacks.base import AttackContext, AttackResult, Samples
from bench.attacks.mi_fgsm import _unit_l1
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]
NAMES = ("bim", "mi_fgsm")


def run(case: Any, context: AttackContext, name: str, **args: Any) -> AttackResult:
    attack = attacks.build(AttackSpec(id=None, name=name, backend=None, args=args), context.threat_model.norm)
    return attack.run(case.model, case.samples, context)


def broken(case: Any, result: AttackResult) -> Tensor:
    with torch.no_grad():
        return case.model(result.x_adv).argmax(1) != case.samples.y


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", "1/100"), ("linf", "1/20"), ("l2", "1/10"), ("l2", "1/5")])
def test_breaks_exactly_what_can_be_broken(
    linear: Any, context: Make, name: str, search: str, norm: str, eps: str
) -> None:
    here = context(norm, eps, search=search)
    result = run(linear, here, name)
    distance = linear.linf if norm == "linf" else linear.l2
    clear = (distance / here.threat_model.radius - 1).abs() > 1e-3
    assert clear.sum() > 40
    assert torch.equal(broken(linear, result)[clear], (distance < here.threat_model.radius)[clear])
    assert here.threat_model.contains(result.x_adv, linear.samples.x).all()


@pytest.mark.parametrize("name", NAMES)
def test_batch_size_and_order_change_nothing(linear: Any, context: Make, name: str) -> None:
    results = [run(linear, context(search="strongest", batch_size=size), name) for size in (3, 16, 100)]
    for other in results[1:]:
        assert torch.allclose(results[0].x_adv, other.x_adv, atol=1e-6)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    linear.samples = linear.samples.take(order)
    shuffled = run(linear, context(search="strongest"), name)
    assert torch.allclose(results[0].x_adv[order], shuffled.x_adv, atol=1e-6)


class Curved(nn.Module):
    """Two classes whose boundary is a parabola, so that the gradient turns as a point moves."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.flatten(1).unbind(1)
        value = 40 * (first - 0.5).square() + second - 1
        return torch.stack([-value, value], dim=1)


def plain_mi_fgsm(model: nn.Module, x: Tensor, y: Tensor, eps: float, norm: str, mu: float) -> Tensor:
    """Algorithm 1 of Dong et al. 2018 with T = 10, or its L2 form (equation 8), on one image; the last iterate."""
    x_adv, g = x.clone(), torch.zeros_like(x)
    for _ in range(10):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(x_adv), y), x_adv)
        g = mu * g + gradient / gradient.abs().sum()
        step = g.sign() if norm == "linf" else g / g.norm()
        delta = x_adv.detach() + eps / 10 * step - x
        delta = delta.clamp(-eps, eps) if norm == "linf" else delta * min(1.0, eps / float(delta.norm()))
        x_adv = (x + delta).clamp(0, 1)
    return x_adv.detach()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("mu", [0.0, 0.9, 1.0])
def test_mi_fgsm_is_the_papers(context: Make, norm: str, mu: float) -> None:
    """``strongest`` keeps the point of highest loss, which on this model is the last one."""
    x = torch.tensor([[0.52, 0.3], [0.47, 0.5], [0.55, 0.1]]).view(3, 1, 1, 2)
    model, y = CountedModel(Curved(), num_classes=2), torch.zeros(3, dtype=torch.int64)
    attack = attacks.build(AttackSpec(id=None, name="mi_fgsm", backend=None, args={"mu": mu}), norm)
    result = attack.run(model, Samples(x, y, ("a", "b", "c")), context(norm, "1/10", search="strongest"))
    for row in range(3):
        expected = plain_mi_fgsm(Curved(), x[row : row + 1], y[:1], 0.1, norm, mu)
        assert torch.allclose(result.x_adv[row : row + 1], expected, atol=1e-5)


def test_bim_is_pgd_from_the_clean_image(linear: Any, context: Make) -> None:
    here = context("l2", "1/5", search="strongest")
    ours = run(linear, here, "bim", steps=7, alpha=0.05)
    pgd = run(linear, here, "pgd", steps=7, alpha=0.05, random_start=False)
    assert torch.equal(ours.x_adv, pgd.x_adv)
    assert run(linear, here, "bim").forwards.tolist() == [11.0] * 64


def test_default_steps_reach_what_the_papers_say(context: Make) -> None:
    for name, reach in (("bim", 1.25), ("mi_fgsm", 1.0)):
        attack: Any = attacks.build(AttackSpec(id=None, name=name, backend=None, args={"steps": 20}), "linf")
        assert attack.alpha(0.1) == pytest.approx(reach * 0.1 / 20)


def test_gradients_have_l1_norm_one_however_small_they_are() -> None:
    gradient = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    gradient[1] *= 1e-38
    gradient[2] = 0
    sums = _unit_l1(gradient).abs().sum((1, 2, 3))
    assert sums.tolist() == pytest.approx([1.0, 1.0, 0.0], abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_model_without_gradient_leaves_finite_points(linear: Any, context: Make, name: str, norm: str) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0]).repeat(len(x), 1) + 0 * x.flatten(1).sum(1, keepdim=True)

    linear.model = CountedModel(Flat(), num_classes=2)
    linear.samples = Samples(linear.samples.x, torch.zeros(64, dtype=torch.int64), linear.samples.ids)
    result = run(linear, context(norm, "1/50"), name)
    assert torch.equal(result.x_adv, linear.samples.x)
    assert result.zero_gradient is not None
    assert result.zero_gradient.all()
