"""Images laid out as a model's gradients lie: the same bits, without going between two layouts at every step."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.base import AttackContext, Samples
from bench.attacks.batch import flat, lies_channels_last, picked, unflat
from bench.attacks.fab import FAB, TargetedFAB
from bench.attacks.mi_fgsm import MIFGSM
from bench.attacks.parameters import (
    APGDParams,
    FABParams,
    MIFGSMParams,
    PGDParams,
    TargetedAPGDParams,
    TargetedFABParams,
)
from bench.attacks.pgd import PGD
from bench.attacks.search_attack import SearchAttack
from bench.models.wrapper import CountedModel

ATTACKS = (
    PGD(PGDParams(steps=6, restarts=2)),
    APGD(APGDParams(steps=12, restarts=2)),
    TargetedAPGD(TargetedAPGDParams(steps=6, n_target_classes=3)),
    MIFGSM(MIFGSMParams(steps=5)),
)


class Watching(CountedModel):
    """Notes how the images lie that it is given for gradients."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            self.layouts.append(lies_channels_last(x))
        return super().forward(x)

    layouts: list[bool]


@pytest.fixture
def case() -> tuple[Watching, Samples]:
    """A small convolutional network in channels-last that is right on 30 images."""
    torch.manual_seed(4)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU())
    network = nn.Sequential(network, nn.Flatten(), nn.Linear(16 * 7 * 7, 5)).to(memory_format=torch.channels_last)
    model = Watching(network, num_classes=5, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    model.layouts = []
    x = torch.rand(30, 3, 16, 16)
    with torch.no_grad():
        y = model(x).argmax(1)
    return model, Samples(x, y, tuple(f"s{index}" for index in range(30)))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_the_layout_follows_the_gradients_and_changes_no_bit(
    attack: SearchAttack,
    search: str,
    case: tuple[Watching, Samples],
    context: Callable[..., AttackContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, samples = case
    given = samples.x.clone()
    how = context("linf", "4/255", search=search, batch_size=16)
    found = attack.run(model, samples, how)
    assert model.layouts[0] is False
    assert all(model.layouts[1:])  # later restarts and targets, too
    assert samples.x.is_contiguous()
    assert torch.equal(samples.x, given)
    assert found.x_adv.is_contiguous()
    with monkeypatch.context() as patch:
        patch.setattr(type(attack), "any_layout", False)
        model.layouts.clear()
        as_ever = attack.run(model, samples, how)
    assert not any(model.layouts)
    assert torch.equal(found.x_adv, as_ever.x_adv)
    assert torch.equal(found.forwards, as_ever.forwards)
    assert 0 < int((model(found.x_adv).argmax(1) != samples.y).sum()) < len(samples)


@pytest.mark.parametrize(
    "attack",
    [FAB(FABParams(steps=6, restarts=2)), TargetedFAB(TargetedFABParams(steps=6))],
    ids=lambda attack: type(attack).__name__,
)
def test_fab_finds_the_same_in_either_layout(
    attack: SearchAttack,
    case: tuple[Watching, Samples],
    context: Callable[..., AttackContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, samples = case
    how = context("linf", "4/255", search="strongest", batch_size=16)
    found = attack.run(model, samples, how)
    assert all(model.layouts[1:])
    assert found.x_adv.is_contiguous()
    with monkeypatch.context() as patch:
        patch.setattr(FAB, "any_layout", False)
        model.layouts.clear()
        as_ever = attack.run(model, samples, how)
    assert not any(model.layouts)
    torch.testing.assert_close(found.x_adv, as_ever.x_adv, atol=1e-4, rtol=0)
    assert (model(found.x_adv).argmax(1) != samples.y).all()


def test_rows_of_pixels_are_those_of_the_images() -> None:
    values = torch.rand(4, 3, 2, 5)
    last = values.contiguous(memory_format=torch.channels_last)
    for like in (values, last):
        rows = flat(values, like)
        assert rows.shape == (4, 30)
        assert torch.equal(unflat(rows, like), values)
    assert flat(last, last).data_ptr() == last.data_ptr()
    assert torch.equal(flat(last, values), values.flatten(1))


class Particular(nn.Module):
    """Works on images in the usual layout only, and gives gradients with the channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.linear = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            brightness = x.view(len(x), -1).mean(1, keepdim=True)
        logits: Tensor = self.linear(self.conv(x).mean((2, 3))) + brightness
        return logits


def test_a_model_that_needs_the_usual_layout_keeps_it(context: Callable[..., AttackContext]) -> None:
    torch.manual_seed(2)
    model = Watching(Particular().to(memory_format=torch.channels_last), num_classes=5)
    model.layouts = []
    x = torch.rand(12, 3, 16, 16, requires_grad=True)
    logits = model(x)
    assert lies_channels_last(torch.autograd.grad(logits.sum(), x)[0])
    samples = Samples(x.detach(), logits.argmax(1), tuple(f"s{index}" for index in range(12)))
    model.layouts.clear()
    model.passes.reset()
    found = PGD(PGDParams(steps=4)).run(model, samples, context("linf", "2/255", search="strongest"))
    assert not any(model.layouts)
    assert model.passes.forward == int(found.forwards.sum())


def test_under_l2_nothing_is_laid_out_anew(
    case: tuple[Watching, Samples], context: Callable[..., AttackContext]
) -> None:
    model, samples = case
    PGD(PGDParams(steps=4)).run(model, samples, context("l2", "1/2"))
    assert not any(model.layouts)


def test_rows_are_picked_in_whichever_layout() -> None:
    values, rows = torch.rand(7, 3, 4, 5), torch.tensor([6, 0, 3, 3])
    last = values.contiguous(memory_format=torch.channels_last)
    for one in (
        values,
        last,
        values.transpose(2, 3).contiguous().transpose(2, 3),
        values.flatten(1),
        values[:, 0, 0, 0],
    ):
        taken = picked(one, rows)
        assert torch.equal(taken, one[rows])
        assert taken.data_ptr() != one.data_ptr()
    assert lies_channels_last(picked(last, rows))
    assert not lies_channels_last(torch.rand(7, 1, 4, 5).contiguous(memory_format=torch.channels_last))
