"""A defended model as its judge, its adaptive and its naive attacker see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from bench import defenses
from bench.defenses.base import Ask, Defense, Detector, Purifier, RandomPurifier, Rewiring, Sight
from bench.defenses.defended import DefendedModel
from bench.errors import BenchError
from bench.models.noise import Noise
from bench.models.wrapper import CountedModel
from bench.suites.spec import DefenseSpec


class Sums(nn.Module):
    """Logits whose gradient is known: 2 and -1 in every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1)
        return torch.stack([2 * total, -total], dim=1)


class Doubles(Purifier):
    differentiable: ClassVar[bool] = True

    def purify(self, x: Tensor) -> Tensor:
        return 2 * x


class Rounds(Purifier):
    differentiable: ClassVar[bool] = False

    def purify(self, x: Tensor) -> Tensor:
        return x.round()

    def surrogate(self, x: Tensor) -> Tensor:
        return 3 * x


class Shifts(RandomPurifier):
    differentiable: ClassVar[bool] = True

    def purified(self, x: Tensor, noise: Noise) -> Tensor:
        return x + noise.uniform(1, 1, 1)


class Global(Purifier):
    """A third party's: it draws from torch's global generator."""

    differentiable: ClassVar[bool] = True
    stochastic: ClassVar[bool] = True

    def purify(self, x: Tensor) -> Tensor:
        return x + torch.rand(len(x), 1, 1, 1)


class Flat(Rewiring):
    """Rounds the logits; attacked through the bare ones."""

    differentiable: ClassVar[bool] = False
    attacked_by_surrogate: ClassVar[bool] = True

    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        return ask(x).round()


class FewFpr:
    fpr = 0.1


class Bright(Detector):
    """Rejects bright images."""

    differentiable: ClassVar[bool] = True

    def score(self, sight: Sight) -> Tensor:
        return sight.x.flatten(1).mean(1)


def images(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()


def defended(*stages: Defense, surrogates: Sequence[str | Purifier | None] = ()) -> DefendedModel:
    return DefendedModel(CountedModel(Sums(), num_classes=2), stages, surrogates)


def gradient(model: DefendedModel, x: Tensor) -> float:
    """Of the first logit, at the first pixel."""
    point = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(model(point)[:, 0].sum(), point)
    return float(found[0, 0, 0, 0])


def test_a_chain_applies_the_first_defense_to_the_image() -> None:
    x = images(0.3)
    assert defended(Doubles(None), Rounds(None))(x)[0, 0] == pytest.approx(8.0)  # 0.3 -> 0.6 -> 1
    assert defended(Rounds(None), Doubles(None))(x)[0, 0] == pytest.approx(0.0)  # 0.3 -> 0 -> 0


@pytest.mark.parametrize(
    ("knowledge", "surrogate", "expected"),
    [
        ("adaptive", None, 2 * 2 * 3.0),
        ("adaptive", "identity", 2 * 2 * 1.0),
        ("adaptive", "exact", 0.0),
        ("adaptive", Doubles(None), 2 * 2 * 2.0),
        ("naive", None, 0.0),
    ],
)
def test_whose_gradient_stands_in(knowledge: str, surrogate: str | Purifier | None, expected: float) -> None:
    """Through a doubling and a rounding whose surrogate triples: the forward pass is the real one for all of them."""
    model = defended(Doubles(None), Rounds(None), surrogates=(None, surrogate)).seen_by(knowledge)  # type: ignore[arg-type]
    x = images(0.3)
    assert gradient(model, x) == pytest.approx(expected)
    assert torch.equal(model(x.clone().requires_grad_()).detach(), model.real(x))


def test_what_has_no_graph_has_no_gradient_for_the_naive_and_is_a_fault_where_it_claims_one() -> None:
    class Cut(Purifier):
        differentiable: ClassVar[bool] = False

        def purify(self, x: Tensor) -> Tensor:
            return x.detach()

    model = defended(Cut(None))
    assert gradient(model.seen_by("naive"), images(0.3)) == 0
    assert gradient(model.seen_by("adaptive"), images(0.3)) == pytest.approx(2.0)
    Cut.differentiable = True
    with pytest.raises(BenchError, match="declares itself differentiable, but what it returns does not require grad"):
        gradient(model.seen_by("adaptive"), images(0.3))


def test_draws_follow_the_key_of_the_sample_not_the_batch() -> None:
    model, x = defended(Shifts(None)), images(0.1, 0.2, 0.3)
    keys = torch.tensor([5, 6, 7])
    with model.drawing(keys):
        together, again = model(x), model(x)
    with model.drawing(keys[1:2]):
        alone = model(x[1:2])
    assert torch.equal(together, again)
    assert torch.equal(together[1:2], alone)
    with model.drawing(keys + 100):
        assert not torch.isclose(model(x), together).any()
    assert not torch.equal(model(x), model(x))  # without keys every pass is fresh


def test_a_third_partys_randomness_is_seeded_by_the_keys() -> None:
    model, x = defended(Global(None)), images(0.1, 0.2)
    state = torch.get_rng_state()
    with model.drawing(torch.tensor([5, 6])):
        one, other = model(x), model(x)
    assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_naive_attacker_sees_neither_randomness_nor_rejection() -> None:
    model = defended(Shifts(None), Bright(FewFpr()))
    model.calibrate(torch.rand(40, 1, 2, 2), torch.zeros(40, dtype=torch.int64), 16)
    naive = model.seen_by("naive")
    assert (model.stochastic, model.rejects) == (True, True)
    assert (naive.stochastic, naive.rejects) == (False, False)
    assert naive(images(0.3)).shape == (1, 2)
    assert model(images(0.3)).shape == (1, 3)


def test_an_attacker_meets_the_stand_in_and_the_judge_the_real_logits() -> None:
    model = defended(Flat(None))
    view = model.seen_by("adaptive")
    x = images(0.3)
    assert view.approximate
    assert not model.approximate
    assert view(x)[0].tolist() == pytest.approx([2.4, -1.2])
    assert view.real(x)[0].tolist() == [2.0, -1.0]
    assert model.seen_by("naive")(x)[0].tolist() == [2.0, -1.0]


def test_an_image_is_rejected_exactly_above_the_threshold() -> None:
    model = defended(Bright(FewFpr()))
    x = torch.rand(59, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    model.calibrate(x, torch.zeros(59, dtype=torch.int64), 16)
    threshold = x.flatten(1).mean(1).sort().values[53]  # the 54th of 59: ceil(60 * 0.9)
    fresh = torch.rand(500, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    logits = model(fresh)
    rejected = logits[:, 2] > logits[:, :2].amax(1)
    assert torch.equal(rejected, fresh.flatten(1).mean(1) > threshold)
    assert 0.02 < float(rejected.float().mean()) < 0.25


def test_a_detector_behind_a_purifier_sees_purified_images() -> None:
    model = defended(Doubles(None), Bright(FewFpr()))
    model.calibrate(torch.rand(40, 1, 2, 2), torch.zeros(40, dtype=torch.int64), 16)
    assert model.thresholds[1].value > 1.0  # means of doubled images


def test_it_is_not_asked_before_it_is_calibrated() -> None:
    with pytest.raises(BenchError, match="hasn't been calibrated"):
        defended(Bright(FewFpr()))(images(0.3))


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((Bright(FewFpr()), Doubles(None)), "nothing but another detector comes after"),
        ((Flat(None), Doubles(None)), "neither a purifier nor what rejects"),
        ((Flat(None), Bright(FewFpr())), ""),
        ((Defense,), "a defense is a Purifier, a Rewiring or a Detector"),
    ],
)
def test_what_goes_together(stages: tuple[Defense, ...], words: str) -> None:
    if not words:
        defended(*stages)
        return
    with pytest.raises(BenchError, match=words):
        defended(*stages)


@pytest.mark.parametrize(
    "name", [name for name, entry in defenses.TABLE.items() if entry.facts.get("kind") == "purifier"]
)
def test_every_purifier_gives_an_adaptive_attacker_a_gradient(name: str) -> None:
    if name in ("dncnn", "denoising_autoencoder"):
        pytest.skip("needs weights; has tests of its own")
    built = defenses.build(DefenseSpec(name=name, args={"length": 8} if "Cutout" in name else {}))
    model = DefendedModel(CountedModel(Sums(), num_classes=2), built).seen_by("adaptive")
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    point = x.clone().requires_grad_()
    keys = torch.tensor([1, 2])
    with model.drawing(keys), model.real.drawing(keys):
        logits = model(point)
        real = model.real(x)
    (found,) = torch.autograd.grad(logits[:, 0].sum(), point)
    assert torch.isfinite(found).all()
    assert float(found.abs().amax()) > 0
    assert torch.allclose(logits.detach(), real, rtol=1e-4, atol=1e-3)
