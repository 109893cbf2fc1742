"""What a library is shown of a model that rejects: claims that the judge shares, and a gradient that doesn't vanish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import attacks
from bench.attacks.backends.joint import joint_model
from bench.attacks.backends.owners import owners_of
from bench.attacks.base import AttackContext, Samples
from bench.attacks.losses import cross_entropy
from bench.models.wrapper import CountedModel
from bench.runner.judge import predict
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]
WHITE_BOX = (
    ("foolbox.LinfPGD", {"steps": 20}),
    ("foolbox.LinfDeepFoolAttack", {"steps": 20}),
    ("foolbox.LInfFMNAttack", {"steps": 40}),
    ("pgd", {"steps": 20, "backend": "foolbox"}),
    ("art.AutoProjectedGradientDescent", {"max_iter": 20, "nb_random_init": 1}),
)
OFFICIAL = tuple(
    ("autoattack", {"version": "custom", "attacks": [stage], "n_queries": 100, "backend": "autoattack"})
    for stage in ("apgd-ce", "fab-t", "square")
)


class Guarded(nn.Module):
    """A classifier beside a detector that rejects what lies far from grey, by a score without a bound."""

    def __init__(self, inner: Any, weight: float) -> None:
        super().__init__()
        self.inner, self.weight = inner, weight

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        above = self.weight * ((x[:, 1] - 0.5).abs().mean((1, 2)) - 0.06)
        return torch.cat([logits, (logits.amax(1) + above)[:, None]], dim=1)


class Rejecting(CountedModel):
    rejects = True


@pytest.fixture
def guarded(linear: Any) -> CountedModel:
    return Rejecting(Guarded(linear.model.module, 3000.0), num_classes=4)


def test_the_largest_is_the_label_where_it_is_right_or_rejected(linear: Any, guarded: CountedModel) -> None:
    generator = torch.Generator().manual_seed(3)
    x = (linear.samples.x + 0.24 * torch.rand(linear.samples.x.shape, generator=generator) - 0.12).clamp(0, 1)
    judged = predict(guarded, x, linear.samples.y, 64)
    with torch.no_grad():
        shown = joint_model(guarded, linear.samples)(x)
    assert shown.shape == (len(x), 4)
    assert torch.equal(shown.argmax(1) != linear.samples.y, judged.fooled)
    wrong = judged.predicted != linear.samples.y
    assert bool((wrong & judged.rejected).any())
    assert bool(judged.fooled.any())


def test_a_model_that_does_not_reject_is_shown_as_it_is(linear: Any) -> None:
    assert joint_model(linear.model, linear.samples) is linear.model


class Given(nn.Module):
    """A model whose two pixels say how far class 1 and the rejection lie above."""

    num_classes, rejects, stochastic = 3, True, False

    def forward(self, x: Tensor) -> Tensor:
        first, above = x[:, 0, 0, 0], x[:, 0, 0, 1]
        zero = 0 * first
        return torch.stack([zero, first, zero - 2, torch.maximum(first, zero) + above], dim=1)


def test_a_rejection_by_far_leaves_a_gradient() -> None:
    """Of class 1 where the label still wins, of the detector where it doesn't: the score of either is thousands."""
    x = torch.tensor([[-4.0, 5e3], [4.0, 5e3], [900.0, 1e6], [4.0, -1.0]])[:, None, None]
    samples = Samples(x, torch.zeros(4, dtype=torch.int64), tuple("abcd"))
    x = x.clone().requires_grad_()
    shown = joint_model(Given(), samples)(x)  # type: ignore[arg-type]
    assert shown[:3].argmax(1).tolist() == [0, 0, 0]
    assert shown[3].tolist() == [3, 4, -2]
    assert float(shown[1, 0].detach()) == pytest.approx(4 + float(torch.tensor([0.0, 4, -2]).std()))
    assert float(shown[2, 0].detach()) == 910
    (gradient,) = torch.autograd.grad(cross_entropy(shown, samples.y).sum(), x)
    first, above = gradient[:, 0, 0].unbind(1)
    assert first[0] > 0
    assert above[0] == 0
    assert (above[1:] < 0).all()


@pytest.mark.parametrize(("name", "args"), [*WHITE_BOX, *OFFICIAL])
def test_what_it_calls_a_success_is_one(
    linear: Any, guarded: CountedModel, context: Make, name: str, args: dict[str, Any]
) -> None:
    here = context("linf", "1/15", batch_size=64)
    spec = AttackSpec.model_validate({"name": name, **args})
    found = attacks.build(spec, "linf").run(guarded, linear.samples, here)
    inside = here.threat_model.contains(found.x_adv, linear.samples.x)
    fooled = predict(guarded, found.x_adv, linear.samples.y, 64).fooled
    assert (fooled & inside).any()
    if found.claimed is not None:
        assert torch.equal(found.claimed & inside, fooled & inside)


def test_rows_of_a_part_of_the_images_find_theirs(linear: Any, guarded: CountedModel) -> None:
    x = linear.samples.x
    rows = torch.tensor([7, 3, 3, 20])
    assert owners_of(x[rows] + 0.01, x).tolist() == rows.tolist()
    assert owners_of(x.flip(0), x).tolist() == list(range(len(x)))
    assert owners_of(1 - x[rows], x[:1]).tolist() == [0] * 4
    shown = joint_model(guarded, linear.samples)
    with torch.no_grad():
        assert torch.allclose(shown(x[rows]), shown(x)[rows], atol=1e-5)
