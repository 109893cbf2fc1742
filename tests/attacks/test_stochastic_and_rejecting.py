"""Attacks on models whose logits are random, and on models that may reject."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import attacks
from bench.attacks.base import AttackContext
from bench.attacks.losses import answers, margin, pursued
from bench.models.noise import Noise
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]


class RandomLinear(CountedModel):
    """The linear model with a random shift of its margin: uniform in [-width, width]."""

    stochastic = True
    verifying_draws = 10

    def __init__(self, inner: CountedModel, width: float) -> None:
        super().__init__(inner.module, num_classes=inner.num_classes)
        self.width, self.keys = width, None

    @contextmanager
    def drawing(self, keys: Tensor) -> Iterator[None]:
        before, self.keys = self.keys, keys
        try:
            yield
        finally:
            self.keys = before

    def forward(self, x: Tensor) -> Tensor:
        keys = self.keys if self.keys is not None else torch.randint(2**60, (len(x),))
        assert len(keys) == len(x)
        shift = (2 * Noise(keys).uniform(1) - 1) * self.width
        return super().forward(x) + torch.cat([shift, -shift, 0 * shift, 0 * shift], dim=1)


class Guarded(nn.Module):
    """The linear model beside a detector that rejects what lies far from its boundary along the first channel's weights."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        signs = self.inner.weight.view(3, 6, 6)[0].sign()
        along = ((x[:, 0] - 0.5) * signs).flatten(1).mean(1)
        return torch.cat([logits, (logits.amax(1) + 200 * (along.abs() - 0.03))[:, None]], dim=1)


class GuardedModel(CountedModel):
    rejects = True


def run(linear: Any, model: CountedModel, context: AttackContext, name: str = "pgd", **args: Any) -> Any:
    return attacks.build(AttackSpec(name=name, args=args), context.threat_model.norm).run(
        model, linear.samples, context
    )


def test_a_rejection_is_folded_into_the_label() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 5.0], [1.0, 3.0, 2.0, -5.0], [4.0, 3.0, 2.0, 1.0]])
    y = torch.tensor([0, 0, 0])
    folded = answers(logits, y, 3)
    assert folded.tolist() == [[5.0, 3.0, 2.0], [1.0, 3.0, 2.0], [4.0, 3.0, 2.0]]
    assert (margin(folded, y) > 0).tolist() == [False, True, False]
    assert torch.equal(answers(logits[:, :3], y, 3), logits[:, :3])


def test_the_classifier_is_pursued_first_and_then_the_detector() -> None:
    y = torch.tensor([0, 0, 0, 0])
    logits = torch.tensor(
        [
            [4.0, 3.0, 1.0, 90.0],  # still right: the rejection doesn't matter yet
            [1.0, 3.0, 2.0, 90.0],  # wrong and rejected by far: cut off, no lower than on the boundary
            [1.0, 3.0, 2.0, 3.2],  # wrong and rejected by a little
            [1.0, 3.0, 2.0, 2.0],  # wrong and accepted
        ],
        requires_grad=True,
    )
    found = pursued(logits, y, 3)
    most = logits[:, :3].detach().std(1)
    assert found[0].tolist() == [4.0, 3.0, 1.0]
    assert found[1].tolist() == pytest.approx([3.0, 3.0, 2.0])
    assert found[2].tolist() == pytest.approx([3.2 - float(most[2]), 3.0, 2.0])
    assert found[3].tolist() == pytest.approx([2.0 - float(most[3]), 3.0, 2.0])
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), logits)
    # Through the detector's distance above the best class, cut off or not.
    assert gradient[:, 3].tolist() == [0, 1, 1, 1]
    assert gradient[:, 0].tolist() == [1, 0, 0, 0]
    assert torch.equal(pursued(logits[:, :3], y, 3), logits[:, :3])


@pytest.mark.parametrize("name", ["pgd", "apgd", "square", "cascade"])
def test_a_rejected_point_is_no_success(linear: Any, context: Make, name: str) -> None:
    """Every point that the attack claims passes the detector; a blind attack is rejected on some."""
    model = GuardedModel(Guarded(linear.model.module), num_classes=4)
    here = context("linf", "1/20", search="strongest")
    args = {"steps": 40} if name in ("pgd", "apgd") else {"n_queries": 600} if name == "square" else {}
    found = run(linear, model, here, name, **args)
    with torch.no_grad():
        joint = answers(model(found.x_adv), linear.samples.y, 4)
    blind = run(linear, linear.model, here, name, **args)
    with torch.no_grad():
        seen = model(blind.x_adv)
    fooled = margin(joint, linear.samples.y) > 0
    wrong = seen[:, :4].argmax(1) != linear.samples.y
    rejected = seen[:, 4] > seen[:, :4].amax(1)
    assert int((wrong & rejected).sum()) >= 8  # the detector catches what is blind to it
    assert int(fooled.sum()) > int((wrong & ~rejected).sum())


def test_success_against_a_random_model_is_a_majority_of_fresh_draws(linear: Any, context: Make) -> None:
    """A sample inside the ball by less than the noise is not claimed; the strongest point is kept."""
    model = RandomLinear(linear.model, width=0.3)
    here = replace(context("linf", "1/50", search="first_success"), eot_iter=10)
    found = run(linear, model, here, steps=30)
    with torch.no_grad():
        bare = margin(linear.model(found.x_adv), linear.samples.y)
    reach = linear.linf <= 1 / 50
    # The corner of the ball is found, random draws or not: there the margin is as large as it gets.
    best = margin_at_corner(linear, 1 / 50)
    assert torch.allclose(bare, best, atol=0.3)
    assert torch.equal((bare > 0)[(linear.linf - 1 / 50).abs() > 1e-3], reach[(linear.linf - 1 / 50).abs() > 1e-3])


def margin_at_corner(linear: Any, eps: float) -> Tensor:
    weight = linear.model.module.weight.view(1, 3, 6, 6)
    sign = torch.where(linear.samples.y == 0, -1.0, 1.0).view(-1, 1, 1, 1)
    with torch.no_grad():
        return margin(linear.model(linear.samples.x + eps * sign * weight.sign()), linear.samples.y)


def test_gradients_are_averaged_and_their_agreement_is_told(linear: Any, context: Make) -> None:
    model = RandomLinear(linear.model, width=50.0)
    one = run(linear, model, context("linf", "1/50", search="strongest"), steps=5, loss="margin")
    here = replace(context("linf", "1/50", search="strongest"), eot_iter=8)
    many = run(linear, model, here, steps=5, loss="margin")
    assert one.eot_agreement is not None
    assert bool(torch.isnan(one.eot_agreement).all())  # a single draw has no halves
    # The shift changes no gradient of the two likely classes, so both halves agree where they see the same margin.
    assert float(many.eot_agreement.nanmean()) > 0.5
    assert float(many.backwards.mean()) == pytest.approx(8 * float(one.backwards.mean()))
    assert float(many.forwards.min()) >= 8 * 6


@pytest.mark.parametrize("batch_size", [16, 100])
def test_batch_size_changes_nothing_of_a_random_search(linear: Any, context: Make, batch_size: int) -> None:
    model = RandomLinear(linear.model, width=2.0)
    results = [
        run(linear, model, replace(context("linf", "1/50", batch_size=size), eot_iter=3), steps=10)
        for size in (64, batch_size)
    ]
    assert torch.allclose(results[0].x_adv, results[1].x_adv, atol=1e-5)
    assert torch.equal(results[0].backwards, results[1].backwards)
