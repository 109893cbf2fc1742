"""What the engine promises for every attack on it: verified successes, pinned shapes, EOT, counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import attacks, threat_models
from bench.attacks.apgd import APGD, TargetedAPGD
from bench.attacks.base import AttackContext, Samples
from bench.attacks.batch import Batch, Seen
from bench.attacks.draws import Draws
from bench.attacks.fab import TargetedFAB
from bench.attacks.parameters import (
    APGDParams,
    PGDParams,
    SquareParams,
    TargetedAPGDParams,
    TargetedFABParams,
)
from bench.attacks.pgd import PGD
from bench.attacks.search_attack import Look, SearchAttack
from bench.attacks.square import Square
from bench.errors import AttackError
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

Make = Callable[..., AttackContext]
ATTACKS: list[SearchAttack] = [
    PGD(PGDParams(steps=6, restarts=2)),
    APGD(APGDParams(steps=12)),
    TargetedAPGD(TargetedAPGDParams(steps=6, n_target_classes=2)),
    TargetedFAB(TargetedFABParams(steps=5, n_target_classes=2)),
    Square(SquareParams(n_queries=30)),
]


@pytest.fixture
def images() -> tuple[CountedModel, Samples]:
    """A small convolutional network that is right on 40 images, some of them easy to break."""
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(6),
    )
    x = torch.rand(40, 3, 12, 12)
    network(x[:1])
    model = CountedModel(network, num_classes=6)
    with torch.no_grad():
        y = model(x).argmax(1)
    return model, Samples(x, y, tuple(f"s{index}" for index in range(40)))


def broken(model: CountedModel, samples: Samples, x_adv: Tensor, context: AttackContext) -> Tensor:
    with torch.no_grad():
        return (model(x_adv).argmax(1) != samples.y) & context.threat_model.contains(x_adv, samples.x)


def parts(samples: Samples, count: int) -> list[Samples]:
    return [samples.take(rows) for rows in torch.arange(len(samples)).chunk(count)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_with_a_pinned_batch_shards_give_the_same_bits(
    images: tuple[CountedModel, Samples],
    context: Make,
    attack: SearchAttack,
    search: str,
    needs_steady_kernels: Callable[[CountedModel, Tensor], None],
) -> None:
    model, samples = images
    needs_steady_kernels(model, samples.x)
    here = replace(context("linf", "1/60", search=search, batch_size=16), pinned=True)
    whole = attack.run(model, samples, here)
    cut = [attack.run(model, part, here) for part in parts(samples, 3)]
    assert torch.equal(whole.x_adv, torch.cat([one.x_adv for one in cut]))
    assert torch.equal(whole.forwards, torch.cat([one.forwards for one in cut]))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    shuffled = attack.run(model, samples.take(order), here)
    assert torch.equal(whole.x_adv[order], shuffled.x_adv)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_batch_sizes_and_shards_agree_on_the_verdicts(
    images: tuple[CountedModel, Samples], context: Make, attack: SearchAttack
) -> None:
    model, samples = images
    verdicts = []
    for size, count in ((16, 1), (100, 1), (512, 3)):
        found = [attack.run(model, part, context("linf", "1/60", batch_size=size)) for part in parts(samples, count)]
        verdicts.append(broken(model, samples, torch.cat([one.x_adv for one in found]), context("linf", "1/60")))
    assert 0 < int(verdicts[0].sum()) < 40
    assert torch.equal(verdicts[0], verdicts[1])
    assert torch.equal(verdicts[0], verdicts[2])


class Lenient(nn.Module):
    """Misclassifies everything in bfloat16 and nothing in float32: claims that float32 must refuse."""

    def forward(self, x: Tensor) -> Tensor:
        value = x.flatten(1).mean(1)
        low = torch.nn.functional.linear(x.flatten(1), torch.ones(1, x[0].numel())).dtype == torch.bfloat16
        first = value * 0 + (-1.0 if low else 1.0)
        return torch.stack([first + value * 1e-3, value * 0], dim=1)


@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_a_success_in_bfloat16_is_only_a_claim(context: Make, search: str) -> None:
    model = CountedModel(Lenient(), num_classes=2)
    samples = Samples(torch.rand(5, 3, 4, 4), torch.zeros(5, dtype=torch.int64), tuple("abcde"))
    here = replace(context(search=search), precision="bfloat16")
    result = PGD(PGDParams(steps=4)).run(model, samples, here)
    with torch.no_grad():
        assert (model(result.x_adv).argmax(1) == samples.y).all()
    assert (result.forwards > 5).all()
    assert (result.iterations >= 4).all()


@pytest.mark.parametrize("name", ["pgd", "apgd", "apgd_targeted", "fab_targeted", "square"])
def test_bfloat16_finds_what_float32_finds(linear: Any, context: Make, name: str) -> None:
    """The linear model's margins near eps are lost in bfloat16, and found again in float32."""
    args = {"n_queries": 100} if name == "square" else {"steps": 20}
    attack = attacks.build(AttackSpec(name=name, args=args), "linf")
    ratio = linear.linf / (1 / 50)
    verdicts = {}
    for precision in ("float32", "bfloat16"):
        result = attack.run(linear.model, linear.samples, replace(context("linf", "1/50"), precision=precision))
        verdicts[precision] = broken(linear.model, linear.samples, result.x_adv, context("linf", "1/50"))
        assert not verdicts[precision][ratio > 1.001].any()
    if name != "square":
        clear = (ratio - 1).abs() > 0.02
        assert torch.equal(verdicts["float32"][clear], (ratio < 1)[clear])
        assert torch.equal(verdicts["bfloat16"][clear], verdicts["float32"][clear])


class Noisy(nn.Module):
    """A linear model under noise that is larger than its signal."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x + 0.3 * torch.randn_like(x))
        return logits + torch.randn_like(logits)


class Recorder(APGD):
    """APGD that keeps the losses it was shown."""

    shown: list[Tensor]

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        self.shown.append(seen.loss)
        super().step(batch, seen, look, context)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        super().begin(batch, ids, context)
        self.shown = []


def test_eot_averages_passes_and_counts_them(linear: Any, context: Make) -> None:
    torch.manual_seed(0)
    model = CountedModel(Noisy(linear.model.module), num_classes=4)
    spread = []
    for eot in (1, 25):
        attack = Recorder(APGDParams(steps=3, eot_iter=eot, loss="margin"))
        result = attack.run(model, linear.samples, context("linf", "1/1000", search="strongest"))
        assert result.forwards.tolist() == [4.0 * eot] * 64
        assert result.backwards.tolist() == [3.0 * eot] * 64
        spread.append(float((attack.shown[0] - attack.shown[1]).std()))
    assert 3 < spread[0] / spread[1] < 8  # the standard error falls with the root of 25


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_counted_passes_are_those_of_the_model(
    images: tuple[CountedModel, Samples], context: Make, attack: SearchAttack
) -> None:
    model, samples = images
    for search in ("first_success", "strongest"):
        model.passes.reset()
        result = attack.run(model, samples, context("linf", "1/60", search=search, batch_size=16))
        assert model.passes.forward == result.forwards.sum()
        assert model.passes.backward >= result.backwards.sum()
        most = attack.passes(6)
        assert float(result.forwards.max()) <= most[0]
        assert float(result.backwards.max()) <= most[1]
    assert float(result.forwards.min()) == most[0]


def test_nothing_to_attack_is_no_error(context: Make, linear: Any) -> None:
    nobody = linear.samples.take(torch.zeros(0, dtype=torch.int64))
    for attack in ATTACKS:
        assert len(attack.run(linear.model, nobody, context()).x_adv) == 0


def test_progress_never_goes_back(images: tuple[CountedModel, Samples]) -> None:
    model, samples = images
    seen: list[tuple[int, int]] = []
    ball = threat_models.build("linf", Fraction(1, 60))
    here = AttackContext(ball, Draws(0, "x"), "first_success", 8, lambda done, robust: seen.append((done, robust)))
    PGD(PGDParams(steps=6)).run(model, samples, here)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert [robust for _, robust in seen] == sorted((robust for _, robust in seen), reverse=True)
    assert seen[-1][0] == 40


def test_a_success_on_compiled_code_is_a_claim(linear: Any, context: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled code that is believed, but leans towards the other class, breaks nothing that the model itself doesn't."""
    lean = torch.tensor([-0.1, 0.1, 0.0, 0.0])
    monkeypatch.setattr(torch, "compile", lambda network, **_: lambda x: network(x) + lean)
    attack = PGD(PGDParams(steps=10))
    here = replace(context("linf", "1/100", batch_size=64), compiled=True)
    result = attack.run(linear.model, linear.samples, here)
    assert linear.model._static.failure == ""
    with torch.no_grad():
        logits = linear.model(result.x_adv)
    really = logits.argmax(1) != linear.samples.y
    leaning = (logits + lean).argmax(1) != linear.samples.y
    assert int((leaning & ~really).sum()) >= 1
    assert (result.iterations[~really] == 10).all()
    plain = attack.run(linear.model, linear.samples, replace(here, compiled=False))
    with torch.no_grad():
        assert torch.equal(linear.model(plain.x_adv).argmax(1) != linear.samples.y, really)


WAITED_FOR = ("engine", "looks", "apgd", "fab", "hyperplane")
"""Modules that look at values less often where looking means to wait for a device."""


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the engine treat the CPU as a device that must be waited for."""

    def switch() -> None:
        for name in WAITED_FOR:
            monkeypatch.setattr(f"bench.attacks.{name}.on_cpu", lambda values: False)

    return switch


@pytest.mark.parametrize("search", ["first_success", "strongest"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_fewer_looks_find_the_same(
    images: tuple[CountedModel, Samples],
    context: Make,
    waiting: Callable[[], None],
    attack: SearchAttack,
    norm: str,
    search: str,
) -> None:
    model, samples = images
    where = context(norm, "1/30" if norm == "linf" else "1/2", search=search, batch_size=16)
    expected = attack.run(model, samples, where)
    waiting()
    found = attack.run(model, samples, where)
    assert torch.equal(found.x_adv, expected.x_adv)
    for name in ("iterations", "forwards", "backwards"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    if expected.zero_gradient is not None:
        assert torch.equal(found.zero_gradient, expected.zero_gradient)


@pytest.mark.parametrize("search", ["first_success", "strongest"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_rows_that_move_in_place_change_nothing(
    images: tuple[CountedModel, Samples],
    context: Make,
    monkeypatch: pytest.MonkeyPatch,
    attack: SearchAttack,
    norm: str,
    search: str,
) -> None:
    model, samples = images
    where = context(norm, "1/60" if norm == "linf" else "1/4", search=search)
    in_place: list[bool] = []
    closed_up = Batch.closed_up

    def watched(batch: Batch, rows: Tensor) -> Batch:
        x = batch.x
        closed = closed_up(batch, rows)
        in_place.append(closed.x.data_ptr() == x.data_ptr())
        return closed

    monkeypatch.setattr(Batch, "closed_up", watched)
    found = attack.run(model, samples, where)
    if isinstance(attack, PGD) and search == "first_success":  # of others, few leave at more than one step
        assert any(in_place)
    monkeypatch.setattr(Batch, "closed_up", Batch.take)
    copied = attack.run(model, samples, where)
    assert torch.equal(found.x_adv, copied.x_adv)
    for name in ("iterations", "forwards", "backwards"):
        assert torch.equal(getattr(found, name), getattr(copied, name)), name


class _Sick(nn.Module):
    """Gives NaN from one pass on."""

    def __init__(self, network: nn.Module, from_pass: int) -> None:
        super().__init__()
        self.network, self.left = network, from_pass

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        logits: Tensor = self.network(x)
        return logits if self.left > 0 else logits * torch.nan


@pytest.mark.parametrize("from_pass", [1, 4, 7])
def test_what_is_not_finite_is_found_with_fewer_looks(
    images: tuple[CountedModel, Samples], context: Make, waiting: Callable[[], None], from_pass: int
) -> None:
    model, samples = images
    sick = CountedModel(_Sick(model.module, from_pass), num_classes=6)
    waiting()
    with pytest.raises(AttackError, match="the model gave logits that aren't finite"):
        PGD(PGDParams(steps=6)).run(sick, samples, context("linf", "1/1000"))


def test_finite_values_of_an_infinite_sum_pass(
    images: tuple[CountedModel, Samples], context: Make, waiting: Callable[[], None]
) -> None:
    model, samples = images

    class Huge(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model.module(x) * 1e37

    waiting()
    found = Square(SquareParams(n_queries=5)).run(
        CountedModel(Huge(), num_classes=6), samples, context("linf", "1/1000")
    )
    assert bool((found.iterations > 0).any())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
@pytest.mark.parametrize("search", ["first_success", "strongest"])
def test_filled_batches_break_the_same_samples(
    images: tuple[CountedModel, Samples],
    context: Make,
    attack: SearchAttack,
    search: str,
    needs_steady_kernels: Callable[[CountedModel, Tensor], None],
) -> None:
    model, samples = images
    needs_steady_kernels(model, samples.x)
    for size in (48, 400):
        here = replace(context("linf", "1/60", search=search, batch_size=size), pinned=True)
        plain, filled = attack.run(model, samples, here), attack.run(model, samples, replace(here, fill=True))
        was, now = (broken(model, samples, result.x_adv, here) for result in (plain, filled))
        assert 0 < int(was.sum()) < 40
        assert torch.equal(was, now)
        survived = ~was if not attack.minimum_norm and search == "first_success" else torch.ones_like(was)
        if search == "strongest":
            assert torch.equal(plain.x_adv, filled.x_adv)
            assert torch.equal(plain.iterations, filled.iterations)
        elif not attack.minimum_norm:
            assert torch.equal(plain.x_adv[survived], filled.x_adv[survived])
            assert torch.equal(plain.iterations[survived], filled.iterations[survived])


def test_points_tried_ahead_are_those_of_a_search_one_by_one(
    images: tuple[CountedModel, Samples], context: Make, needs_steady_kernels: Callable[[CountedModel, Tensor], None]
) -> None:
    model, samples = images
    needs_steady_kernels(model, samples.x)
    here = replace(context("linf", "1/60", batch_size=400), pinned=True)
    attack = Square(SquareParams(n_queries=90, restarts=2))
    plain = attack.run(model, samples, here)
    model.passes.reset()
    filled = attack.run(model, samples, replace(here, fill=True))
    assert filled.queries is not None
    stayed = ~broken(model, samples, plain.x_adv, here)
    assert 0 < int(stayed.sum()) < 40
    assert torch.equal(
        filled.queries[stayed].double(), plain.forwards[stayed]
    )  # those of the search, not of the guesses
    assert float(filled.forwards.sum()) > float(plain.forwards.sum())
    one = Square(SquareParams(n_queries=90))
    plain, filled = one.run(model, samples, here), one.run(model, samples, replace(here, fill=True))
    assert torch.equal(plain.x_adv, filled.x_adv)
    assert filled.queries is not None
    assert torch.equal(filled.queries.double(), plain.forwards)
    assert torch.equal(filled.iterations, plain.iterations)


def test_filled_batches_find_a_finding_of_bfloat16_again(linear: Any, context: Make) -> None:
    for name, args in (
        ("apgd_targeted", {"steps": 20}),
        ("fab_targeted", {"steps": 20}),
        ("square", {"n_queries": 100}),
    ):
        attack = attacks.build(AttackSpec(name=name, args=args), "linf")
        here = replace(context("linf", "1/50"), precision="bfloat16", fill=True)
        result = attack.run(linear.model, linear.samples, here)
        found = broken(linear.model, linear.samples, result.x_adv, here)
        ratio = linear.linf / (1 / 50)
        assert found[ratio < (0.5 if name == "square" else 0.99)].all()
        assert not found[ratio > 1.001].any()
        if name == "square":  # it searches in float32 at once
            once = attack.run(linear.model, linear.samples, replace(here, precision="float32"))
            assert result.queries is not None
            assert once.queries is not None
            assert int(once.queries.max()) == 100
            assert torch.equal(result.queries, once.queries)
            assert torch.equal(result.x_adv, once.x_adv)


class _Table(nn.Module):
    """Three logits for each tenth of the brightness; the label is class 0."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.tensor([[5.0, 0.0, 0.0], [1.0, 1.1, -9.0], [0.01, 0.0, 0.0], [3.0, 0.0, 0.0]])
        return logits[(10 * x.flatten(1)[:, 0]).round().long()]


class _Walk(SearchAttack):
    """Visits one brightness after the other."""

    uses_gradients = False
    steps = 3

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        return (nn.functional.cross_entropy(logits, batch.y, reduction="none"),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        batch.x_adv = batch.x.clone()

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        batch.x_adv = batch.x_adv + 0.1


class _ForItsLoss(_Walk):
    successes_first = False


@pytest.mark.parametrize(("attack", "brightness"), [(_Walk, 0.1), (_ForItsLoss, 0.2)])
def test_a_success_beats_a_higher_loss_unless_the_attack_wants_the_loss(
    context: Make, attack: type[SearchAttack], brightness: float
) -> None:
    samples = Samples(torch.zeros(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64), ("a", "b"))
    model, here = CountedModel(_Table(), num_classes=3), context("linf", "1/2", search="strongest")
    result = attack(None).run(model, samples, here)
    assert result.x_adv.flatten().tolist() == pytest.approx([brightness] * 2)
