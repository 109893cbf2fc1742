"""The rewirings against independent computations, and the gradient that an adaptive adversary gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy import special
from torch import Tensor, nn
from torch.nn import functional as F

from bench import datasets, defenses, models
from bench.defenses.base import Ask, Rewiring
from bench.errors import BenchError
from bench.models.base import Setting
from bench.models.noise import Noise
from bench.models.wrapper import CountedModel
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, DefenseSpec, ModelSpec

ALL: list[tuple[str, dict[str, Any]]] = [
    ("logit_temperature", {}),
    ("kwta", {}),
    ("test_time_augmentation", {}),
    ("test_time_augmentation", {"mode": "vote", "shift": 2}),
    ("smoothing", {"n": 20}),
]


def rewiring(name: str, **args: object) -> Rewiring:
    built = defenses.build(DefenseSpec(id=None, name=name, args=args))
    assert isinstance(built, Rewiring)
    return built


def keys(count: int) -> Noise:
    return Noise(torch.arange(count, dtype=torch.int64) * 1000 + 5)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2), nn.ReLU(inplace=True), nn.Flatten()
    ).append(nn.Linear(36, 5))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "args"), ALL)
def test_the_table_says_what_the_class_declares(name: str, args: dict[str, Any]) -> None:
    entry, built = defenses.TABLE[name], rewiring(name, **args)
    vote = {"certifies": True, "eot_iter": 2, "scoring_draws": 5} if name == "smoothing" else {}
    assert entry.facts == {
        **vote,
        "kind": "rewiring",
        "differentiable": built.differentiable,
        "stochastic": built.stochastic,
        "rejects": built.rejects,
    }
    assert entry.norms == (("l2",) if name == "smoothing" else ())


@pytest.mark.parametrize(("name", "args"), ALL)
def test_what_is_attacked_has_a_gradient(x: Tensor, name: str, args: dict[str, Any]) -> None:
    model = CountedModel(network(), num_classes=5)
    defense = rewiring(name, **args)
    defense.adopt(model)
    point = x.clone().requires_grad_()
    logits = defense.surrogate_logits(model, point, keys(6))
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, torch.arange(6) % 5, reduction="sum"), point)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient.flatten(1).norm(dim=1) > 1e-4).all())
    assert logits.shape == defense.logits(model, x, keys(6)).shape


@pytest.mark.parametrize("asked", ["logits", "surrogate_logits"])
@pytest.mark.parametrize(("name", "args"), ALL)
def test_a_sample_is_the_same_alone_and_in_a_batch(x: Tensor, name: str, args: dict[str, Any], asked: str) -> None:
    model = CountedModel(network(), num_classes=5)
    defense = rewiring(name, **args)
    defense.adopt(model)
    answer: Callable[[Ask, Tensor, Noise], Tensor] = getattr(defense, asked)
    together = answer(model, x, keys(6))
    alone = torch.cat([answer(model, x[i : i + 1], Noise(keys(6).keys[i : i + 1])) for i in range(6)])
    scale = 1 / defense.params.temperature if name == "logit_temperature" and asked == "logits" else 1
    assert torch.allclose(together, alone, atol=1e-5 * scale)


def test_a_small_temperature_kills_the_gradient_and_changes_no_class(x: Tensor) -> None:
    bare_network = network()
    bare_network[5].weight.data *= 10  # as confident as a trained one
    model = CountedModel(bare_network, num_classes=5)
    defense = rewiring("logit_temperature")
    point = x.clone().requires_grad_()
    real, bare = defense.logits(model, point, keys(6)), model(point)
    assert torch.allclose(real, 1000 * bare)
    y = bare.argmax(1)
    assert torch.equal(real.argmax(1), y)
    (gradient,) = torch.autograd.grad(F.cross_entropy(real, y, reduction="sum"), point)
    dead = (gradient.flatten(1) == 0).all(1)
    (gradient,) = torch.autograd.grad(
        F.cross_entropy(defense.surrogate_logits(model, point, keys(6)), y, reduction="sum"), point
    )
    assert bool(dead.all())
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())


def test_kwta_keeps_the_largest_of_each_layer(x: Tensor) -> None:
    bare = network()
    defense = rewiring("kwta", ratio=0.1)
    defense.adopt(bare)
    with torch.no_grad():
        logits = defense.logits(bare, x, keys(6))
        for i in range(6):
            first = np.maximum(bare[0](x[i : i + 1]).numpy(), 0)
            first[first < np.sort(first.ravel())[-38]] = 0  # 0.1 of 6 * 8 * 8
            second = np.maximum(bare[2](torch.from_numpy(first)).numpy(), 0)
            second[second < np.sort(second.ravel())[-4]] = 0  # 0.1 of 4 * 3 * 3
            assert (np.count_nonzero(first), np.count_nonzero(second)) == (38, 4)
            expected = bare[5](torch.from_numpy(second).flatten(1))
            assert torch.allclose(logits[i : i + 1], expected, atol=1e-6)


def test_kwta_with_everything_kept_is_the_network(x: Tensor) -> None:
    bare = network()
    defense = rewiring("kwta", ratio=1)
    defense.adopt(bare)
    assert torch.equal(defense.logits(bare, x, keys(6)), bare(x))


def test_kwta_leaves_the_network_as_it_was_even_after_an_error(x: Tensor) -> None:
    bare = network()
    defense = rewiring("kwta")
    defense.adopt(bare)
    before = bare(x)

    def failing(z: Tensor) -> Tensor:
        bare(z)
        raise RuntimeError("no memory")

    for answer in (defense.logits, defense.surrogate_logits):
        with pytest.raises(RuntimeError, match="no memory"):
            answer(failing, x, keys(6))
    assert not torch.equal(defense.logits(bare, x, keys(6)), before)
    assert not any(module._forward_hooks for module in bare.modules())
    assert torch.equal(bare(x), before)


def test_kwta_refuses_what_it_cannot_reach(x: Tensor) -> None:
    defense = rewiring("kwta")
    with pytest.raises(BenchError, match="must adopt a network"):
        defense.logits(network(), x, keys(6))
    with pytest.raises(BenchError, match=r"kwta: Linear has no nn\.ReLU modules"):
        defense.adopt(nn.Linear(2, 2))


@pytest.mark.parametrize("asked", ["logits", "surrogate_logits"])
def test_kwta_keeps_its_gates_where_the_pass_goes_in_pieces(x: Tensor, asked: str) -> None:
    model = CountedModel(network(), num_classes=5)
    defense = rewiring("kwta", ratio=0.1)
    defense.adopt(model)

    def gradients() -> list[Tensor]:
        point = x.clone().requires_grad_()
        logits = getattr(defense, asked)(model, point, keys(6))
        return [torch.autograd.grad(logits[:, k].sum(), point, retain_graph=k == 0)[0] for k in range(2)]

    whole = gradients()
    assert (model.passes.forward, model.passes.backward) == (6, 12)
    model.microbatch = 4
    for piece, one in zip(gradients(), whole, strict=True):
        assert torch.allclose(piece, one, atol=1e-6)


def test_kwtas_stand_in_weighs_by_the_distance_to_the_last_winner(x: Tensor) -> None:
    bare = network().double()
    defense = rewiring("kwta", ratio=0.25)
    defense.adopt(bare)

    def soft(activations: Tensor, kept: int) -> Tensor:
        now = activations.detach().numpy()
        last = np.sort(now.ravel())[-kept]
        return activations * torch.sigmoid((activations - last) / (0.1 * now.std()))

    for i in range(3):
        point, other = (x[i : i + 1].double().requires_grad_() for _ in range(2))
        logits = defense.surrogate_logits(bare, point, keys(1))
        hidden = soft(F.relu(bare[0](other)), 96)
        expected = bare[5](soft(F.relu(bare[2](hidden)), 9).flatten(1))
        assert torch.allclose(logits, expected)
        weights = torch.arange(5).double()
        (gradient,) = torch.autograd.grad(logits @ weights, point)
        (by_hand,) = torch.autograd.grad(expected @ weights, other)
        assert torch.allclose(gradient, by_hand)


def test_kwta_is_not_lost_in_compiled_code(x: Tensor) -> None:
    bare = network()
    defense = rewiring("kwta", ratio=0.1)
    defense.adopt(bare)
    expected = defense.logits(bare, x, keys(6))
    fast = torch.compile(bare, backend="eager", dynamic=False)
    plain = fast(x)
    assert torch.allclose(plain, bare(x))
    assert torch.allclose(defense.logits(fast, x, keys(6)), expected)
    assert torch.allclose(fast(x), plain)
    torch._dynamo.reset()


def pgd(forward: Callable[[Tensor], Tensor], judge: Ask, x: Tensor, y: Tensor, eps: float) -> float:
    """Share that 20 steps on the cross-entropy leave right."""
    with torch.no_grad():
        left = judge(x).argmax(1) == y
    x_adv = (x + eps * (2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) - 1)).clamp(0, 1)
    for _ in range(20):
        point = x_adv.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(forward(point), y, reduction="sum"), point)
        x_adv = (x + (x_adv + eps / 10 * gradient.sign() - x).clamp(-eps, eps)).clamp(0, 1)
        with torch.no_grad():
            left &= judge(x_adv).argmax(1) == y
    return float(left.float().mean())


def digits(count: int) -> tuple[CountedModel, Tensor, Tensor]:
    zoo = ModelSpec(id="m", source="zoo", name="mnist_standard")
    places = Places(download=False)
    model = models.load(zoo, Setting("mnist", "linf", 10, (1, 28, 28)), places, device="cpu")
    batch = datasets.load(DatasetSpec(name="mnist"), places).batch(range(count))
    return model, batch.x, batch.y


def test_kwtas_soft_gates_break_more_than_its_own_gradient_or_plain_relus() -> None:
    model, x, y = digits(64)
    defense, noise = rewiring("kwta"), keys(64)
    defense.adopt(model)
    real = lambda z: defense.logits(model, z, noise)  # noqa: E731
    soft = pgd(lambda z: defense.surrogate_logits(model, z, noise), real, x, y, 0.1)
    masked = pgd(real, real, x, y, 0.1)
    relus = pgd(model, real, x, y, 0.1)
    assert soft < masked - 0.05
    assert masked < relus


def views(x: np.ndarray[Any, Any], shift: int) -> list[np.ndarray[Any, Any]]:
    """The image, its flip, and what a window over the image with repeated borders sees from four places."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (shift, shift), (shift, shift)), mode="edge")
    places = [(shift, 0), (shift, 2 * shift), (0, shift), (2 * shift, shift)]
    return [x, x[..., ::-1], *(padded[:, :, top : top + height, left : left + width] for top, left in places)]


@pytest.mark.parametrize("shift", [1, 3])
@pytest.mark.parametrize("mode", ["mean", "vote"])
def test_augmentations_are_numpys(x: Tensor, shift: int, mode: str) -> None:
    model = CountedModel(network(), num_classes=5)
    images = torch.cat([x, x**3])
    logits = rewiring("test_time_augmentation", shift=shift, mode=mode).logits(model, images, keys(12)).numpy()
    with torch.no_grad():
        asked = [model(torch.from_numpy(view.copy())).double().numpy() for view in views(images.numpy(), shift)]
    mean = np.mean([special.softmax(one, axis=1) for one in asked], axis=0)
    votes = np.sum([np.eye(5)[one.argmax(1)] for one in asked], axis=0)
    assert np.allclose(logits, np.log(mean) if mode == "mean" else votes + mean, atol=1e-5)


@pytest.mark.parametrize(("args", "count"), [({"flip": False}, 5), ({"shift": 0}, 2), ({}, 6)])
def test_augmentations_can_be_left_out(x: Tensor, args: dict[str, Any], count: int) -> None:
    model = CountedModel(network(), num_classes=5)
    rewiring("test_time_augmentation", **args).logits(model, x, keys(6))
    assert model.passes.forward == 6 * count


def test_the_mean_decides_a_tied_vote() -> None:
    # The flip's first pixel is the last one: one vote each, and the second is surer of itself.
    def ask(z: Tensor) -> Tensor:
        return torch.stack([z[:, 0, 0, 0], z[:, 0, 0, 1], torch.full((len(z),), -9.0)], dim=1)

    x = torch.tensor([[[[1.0, 0.0, 4.0, 0.0]]], [[[1.0, 0.0, 0.0, 4.0]]], [[[3.0, 0.0, 1.0, 0.0]]]])
    logits = rewiring("test_time_augmentation", shift=0, mode="vote").logits(ask, x, keys(3))
    assert logits.floor().tolist() == [[1, 1, 0], [2, 0, 0], [1, 1, 0]]
    assert logits.argmax(1).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("test_time_augmentation", {"flip": False, "shift": 0}, "nothing beside the image itself"),
        ("test_time_augmentation", {"mode": "max"}, "'mean' or 'vote'"),
        ("kwta", {"ratio": 0}, "greater than 0"),
        ("logit_temperature", {"temperature": 0}, "greater than or equal to"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        rewiring(name, **args)
