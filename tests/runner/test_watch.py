"""Successes that an attack had and didn't return."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import bench
from bench import datasets, registry, threat_models
from bench.attacks.base import Attack, AttackContext, AttackResult, Samples
from bench.models.wrapper import CountedModel
from bench.runner import evaluate
from bench.runner.judge import Prediction, Verdict
from bench.runner.run import RunSummary
from bench.runner.watch import Tried, Watch, watching
from bench.store.parts import ShardReport
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

Run = Callable[..., RunSummary]

PGD = """
import torch
from torch.nn import functional
from bench.attacks.base import Attack, AttackResult


class Mine(Attack):
    norms = ("linf", "l2")
    minimum_norm = {minimum_norm}
    joint = True

    def run(self, model, samples, context):
        result = AttackResult.untouched(samples)
        x, y, best, broken = samples.x, samples.y, samples.x.clone(), torch.zeros(len(samples), dtype=torch.bool)
        point = x.clone()
        for step in range(6):
            point = point.detach().requires_grad_()
            logits = model(point)
            fooled = logits[:, :10].argmax(1) != y
            best[fooled], broken = point.detach()[fooled], broken | fooled
            loss = functional.cross_entropy(logits[:, :10], y, reduction="sum")
            point = context.threat_model.project(
                point.detach() + 0.05 * torch.autograd.grad(loss, point)[0].sign(), x
            )
        last = context.threat_model.project(x + 0.1 * (point - x), x)
        model(last)
        result.forwards += 7
        result.backwards += 6
        result.x_adv = {returned}
        return result


ATTACKS = {{"mine": Mine}}
"""


def plugin(returned: str = "last", minimum_norm: bool = False) -> str:
    return PGD.format(returned=returned, minimum_norm=minimum_norm)


def cell(summary: RunSummary, attack: str = "mine", role: str = "suite", defense: str | None = None) -> CellResult:
    found = [
        result
        for result in summary.results
        if (result.attack_id, result.role) == (attack, role) and defense in (None, result.defense.name)
    ]
    assert len(found) == 1
    assert found[0].status == "done", found[0].traceback
    return found[0]


def rows(summary: RunSummary, attack: str = "mine") -> pd.DataFrame:
    return RunDirectory(summary.directory).read_samples(cell(summary, attack).cell)


def silent(result: CellResult) -> list[tuple[str, str]]:
    return [(flag.severity, flag.message) for flag in result.flags if flag.rule == "silent-success"]


def test_a_last_iterate_that_stepped_away_is_flagged_once_with_the_total(plugged: Run) -> None:
    best = plugged(plugin("best"))
    broken, total = int(rows(best)["success"].sum()), len(rows(best))
    assert broken > 6, "more than the first shard holds"
    assert silent(cell(best)) == []
    last = plugged(plugin("last"))
    frame = rows(last)
    assert not frame["success"].any()
    text = (
        f"{broken} of {int(frame['robust'].sum())} unbroken samples had an adversarial point during the attack, and the "
        f"attack returned another one: its number is too high by up to {100 * broken / total:.1f} points"
    )
    assert silent(cell(last)) == [("warning", text)]
    reports = RunDirectory(last.directory).read_reports(cell(last).cell)
    assert [report.samples for report in reports] == [6, 6, 2]
    assert sum(report.silent for report in reports) == broken


def test_what_is_returned_in_part_is_counted_in_part(plugged: Run) -> None:
    even = "torch.arange(len(x))[:, None, None, None] % 2 == 0"
    best, half = plugged(plugin("best")), plugged(plugin(f"torch.where({even}, last, best)"))
    lost = int((rows(best)["success"] & rows(half)["robust"]).sum())
    assert 0 < lost < int(rows(best)["success"].sum())
    assert silent(cell(half))[0][1].startswith(f"{lost} of {int(rows(half)['robust'].sum())} unbroken")


def test_points_beyond_eps_are_no_successes(plugged: Run) -> None:
    """A minimum-norm attack may go where it likes, and what it asks there says nothing about eps."""
    outside = plugin("x.clone()", minimum_norm=True).replace(
        "context.threat_model.project(", "(lambda z, x: z.clamp(0, 1))("
    )
    assert silent(cell(plugged(outside, threat_model="linf:0.01"))) == []
    assert len(silent(cell(plugged(outside, threat_model="linf:0.3")))) == 1


def test_the_naive_are_told_without_a_warning(plugged: Run) -> None:
    summary = plugged(plugin(), defenses="none, random_noise", adversaries="naive, adaptive")
    assert [severity for severity, _ in silent(cell(summary, role="naive"))] == ["info"]
    assert [severity for severity, _ in silent(cell(summary, defense="random_noise"))] == ["warning"]


LUCK = """
import torch
from bench.attacks.base import Attack, AttackResult


class Mine(Attack):
    norms = ("linf",)

    def run(self, model, samples, context):
        result = AttackResult.untouched(samples)
        fooled = torch.zeros(len(samples), dtype=torch.bool)
        for draw in range(40):
            fooled |= model((samples.x + 1e-4).clamp(0, 1)).argmax(1) != samples.y
        result.forwards += 40
        result.iterations += fooled
        return result


ATTACKS = {"mine": Mine}
"""


def test_the_luck_of_a_draw_is_no_success(plugged: Run) -> None:
    noise = "{name: random_noise, std: 0.4}"
    lucky = plugged(LUCK, defenses=noise)
    assert rows(lucky)["iterations"].sum() > 1, "some draws of some images were fooled"
    assert not rows(lucky)["success"].any()
    assert silent(cell(lucky)) == []
    sure = silent(cell(plugged(plugin(), defenses=noise)))
    assert len(sure) == 1, "points that most of the scoring draws confirm are"
    rng = "class M(nn.Module):\n def __init__(self):\n  super().__init__(); torch.manual_seed(0); self.l = nn.Linear(784, 10)"
    rng = f"\nfrom torch import nn\n{rng}\n def forward(self, x): return self.l((x + torch.rand_like(x)).flatten(1))\n"
    model = "MODELS = {'mine': M}\n"
    undeclared = cell(plugged(LUCK + rng + model, models="{source: mine}"))
    assert [flag.rule for flag in undeclared.flags] == ["unmarked-randomness"]


def test_a_rejected_point_is_no_success() -> None:
    """Its class is another one, but the column of the rejection is the largest."""
    x, y = torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64)
    watch = Watch(
        _Target(3, rejects=True), Samples(x, y, ("a", "b", "c")), threat_models.build("linf", Fraction("1/10"))
    )
    # The first is rejected, the second fools both, the third is classified right.
    watch.look(
        x + torch.tensor([0.01, 0.02, 0.03]).view(3, 1, 1, 1),
        torch.tensor([[0.0, 5, 0, 6], [0, 5, 0, 4], [5, 0, 0, 4]]),
    )
    assert watch.tried.rows.tolist() == [1]


class _Target:
    stochastic, approximate = False, False

    def __init__(self, num_classes: int, rejects: bool = False) -> None:
        self.num_classes, self.rejects = num_classes, rejects


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_rows_find_their_samples_in_any_order(norm: str) -> None:
    """Passes of all sizes: subsets, copies, shuffled, far away; the last pass of a size was in another order."""
    generator = torch.Generator().manual_seed(1)
    count, classes = 12, 3
    x = torch.rand(count, 1, 4, 4, generator=generator) * 0.8 + 0.1
    y = torch.randint(classes, (count,), generator=generator)
    eps = {"linf": "1/10", "l2": "3/10", "l1": "1"}[norm]
    threat_model = threat_models.build(norm, Fraction(eps))
    watch = Watch(_Target(classes), Samples(x, y, tuple("abcdefghijkl")), threat_model)
    first: dict[int, Tensor] = {}
    for number in range(60):
        size = (12, 5, 12, 24, 1, 3)[number % 6]
        owners = torch.randint(count, (size,), generator=generator) if number % 4 else torch.arange(size) % count
        step = (2 * torch.rand(size, 1, 4, 4, generator=generator) - 1) * 0.1
        step[torch.rand(size, generator=generator) < 0.2] *= 8
        points = x[owners] + step
        logits = torch.randn(size, classes, generator=generator)
        logits[torch.arange(size), y[owners]] += 2
        watch.look(points, logits)
        for point, row in zip(points, logits, strict=True):
            there = point.expand_as(x)
            owner = int(threat_model.distance(there, x).argmin())
            inside = bool(threat_model.contains(there, x)[owner])
            margin = float(row.max() - row[y[owner]])
            known = first.get(owner)
            if inside and margin > 0 and (known is None or (float(known[1]) == number and margin > float(known[2]))):
                first[owner] = (point, number, margin)  # type: ignore[assignment]
    tried = watch.tried
    assert len(first) > 6
    assert tried.rows.tolist() == sorted(first)
    for row, point in zip(tried.rows.tolist(), tried.points, strict=True):
        assert torch.equal(point, first[row][0])


def test_the_clearest_claim_is_kept_where_the_first_may_be_luck() -> None:
    x, y = torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, dtype=torch.int64)
    for random, kept in ((False, 0.51), (True, 0.52)):
        target = _Target(2)
        target.stochastic = random  # type: ignore[misc]
        watch = Watch(target, Samples(x, y, ("a",)), threat_models.build("linf", Fraction("1/10")))
        for value, margin in ((0.5, -1.0), (0.51, 0.1), (0.52, 0.9), (0.53, 0.5), (0.7, 3.0)):
            watch.look(torch.full_like(x, value), torch.tensor([[0.0, margin]]))
        assert float(watch.tried.points[0, 0, 0, 0]) == pytest.approx(kept)


@pytest.mark.parametrize("confirmed", [True, False])
def test_only_other_points_of_robust_samples_are_judged(confirmed: bool) -> None:
    points = torch.full((3, 1, 2, 2), 0.5)
    asked: list[Any] = []

    def verdict(x_adv: Tensor, wrong: Tensor) -> Verdict:
        none = torch.zeros(len(x_adv))
        prediction = Prediction(none.long(), none, none, 1 - wrong, wrong, wrong, wrong, none)
        return Verdict(x_adv, prediction, none, none.double())

    def judged(judged_points: Tensor, judged_rows: Tensor) -> Verdict:
        asked.append((judged_points, judged_rows.tolist()))
        return verdict(judged_points, torch.full((len(judged_points),), float(confirmed)).double())

    # Of the shard's four samples the attack left one alone, returned one point as it was, and broke one.
    returned = verdict(torch.stack([points[0] + 0.1, points[0], points[0] + 0.2, points[0] + 0.3]), torch.zeros(4))
    tried = Tried(torch.tensor([1, 2, 3]), points)
    assert tried.lost(torch.tensor([True, True, True, False]), returned, judged) == int(confirmed)
    assert [rows for _, rows in asked] == [[2]]
    assert Tried.nothing(points).lost(torch.ones(4, dtype=torch.bool), returned, judged) == 0


# -- nothing changes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(evaluate, "believes_itself", lambda cell, attack: False)


HEALTHY = {
    "linf": (
        "{id: a, name: pgd, steps: 5, restarts: 2, backend: foolbox}, {id: b, name: fgsm, backend: foolbox}, "
        "{id: c, name: pgd, steps: 5, backend: art}, {id: d, name: fgsm, backend: art}, "
        "{id: e, name: autoattack, version: custom, attacks: [apgd-ce, apgd-t, fab-t, square], n_queries: 30, "
        "backend: autoattack}, {id: f, name: square, n_queries: 100, backend: autoattack}"
    ),
    "l2": (
        "{id: a, name: pgd, steps: 5, backend: foolbox}, {id: b, name: pgd, steps: 5, backend: art}, "
        "{id: c, name: cw, steps: 30, stepsize: 0.05, binary_search_steps: 3, backend: foolbox}, "
        "{id: d, name: cw, steps: 5, binary_search_steps: 2, backend: art}"
    ),
}
EPS = {"linf": "0.15", "l2": "2"}


@pytest.mark.parametrize("norm", HEALTHY)
def test_libraries_are_not_accused_and_not_disturbed(plugged: Run, blind: Callable[[], None], norm: str) -> None:
    """Rows with and without watching are equal: logits, gradients, passes, and what is drawn after each of them."""
    words = {"attacks": HEALTHY[norm], "threat_model": f"{norm}:{EPS[norm]}", "samples": 7}
    watched = plugged("METRICS = {}\nATTACKS = {'other': object}", **words)
    names = [result.attack_id for result in watched.results]
    frames = {name: rows(watched, name) for name in names}
    for name in names:
        assert silent(cell(watched, name)) == []
    assert sum(int(frame["success"].sum()) for frame in frames.values()) > 0
    blind()
    shutil.rmtree(watched.directory)
    plain = plugged("METRICS = {}\nATTACKS = {'other': object}", **words)
    for name in names:
        assert frames[name].equals(rows(plain, name))


def test_our_own_attacks_are_not_watched(plugged: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "watching", None)
    plugged("METRICS = {}\nATTACKS = {'other': object}", attacks="fgsm, {name: pgd, steps: 3}, {name: cw, steps: 2}")


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 8 * self.linear(x.flatten(1) - 0.5)


@pytest.fixture
def linear() -> tuple[CountedModel, Samples]:
    model = CountedModel(_Net(), num_classes=3)
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y = model(x).argmax(1)
    model.passes.reset()
    return model, Samples(x, y, tuple("abcde"))


def test_passes_are_what_they_were(linear: tuple[CountedModel, Samples]) -> None:
    model, samples = linear
    threat_model = threat_models.build("linf", Fraction("1/2"))

    def passes() -> tuple[Tensor, Tensor, Tensor, object]:
        model.passes.reset()
        torch.manual_seed(5)
        x = (samples.x + 0.5 * (torch.rand_like(samples.x) - 0.5).sign()).clamp(0, 1).requires_grad_()
        logits = model(x)
        gradient = torch.autograd.grad(functional.cross_entropy(logits, samples.y), x)[0]
        model(x=x.detach())
        return logits.detach(), gradient, torch.get_rng_state(), model.passes.snapshot()

    plain = passes()
    with watching(model, samples, threat_model) as watch:
        watched = passes()
    for one, other in zip(plain[:3], watched[:3], strict=True):
        assert torch.equal(one, other)  # type: ignore[arg-type]
    assert plain[3] == watched[3]
    assert len(watch.tried.rows) > 0
    assert len(model._forward_hooks) == 0


def test_copies_keywords_and_transforms(linear: tuple[CountedModel, Samples]) -> None:
    """A copy of the model is looked at, too; inside torch.func nothing is kept, and nothing breaks."""
    model, samples = linear
    threat_model = threat_models.build("linf", Fraction("1/2"))
    point = 1 - samples.x.round()
    away = (samples.x + 0.5 * (point - samples.x).sign()).clamp(0, 1)
    ways: dict[str, Callable[[Any], object]] = {
        "call": lambda given: given(away),
        "keyword": lambda given: given(x=away),
        "copy": lambda given: copy.deepcopy(given)(away),
        "no gradients": lambda given: torch.no_grad()(given)(away),
        "inference": lambda given: (torch.inference_mode()(given)(away.clone()), given(away)),
    }
    found = {}
    for name, way in ways.items():
        with watching(model, samples, threat_model) as watch:
            way(model)
        found[name] = watch.tried.rows.tolist()
    assert found["call"]
    assert len({str(one) for one in found.values()}) == 1
    with watching(model, samples, threat_model) as watch:
        slope = torch.func.grad(lambda z: model(z).sum())(away)
        torch.func.vmap(lambda z: model(z[None])[0])(away)
        torch.func.grad(lambda weight: (weight * model(away)).sum())(torch.ones(3))
    assert slope.shape == away.shape
    assert len(watch.tried.rows) == 0
    assert len(model._forward_hooks) == 0


def test_an_attack_that_raises_leaves_no_hook(linear: tuple[CountedModel, Samples]) -> None:
    model, samples = linear
    with pytest.raises(ValueError, match="no"), watching(model, samples, threat_models.build("l2", Fraction(1))):
        raise ValueError("no")
    assert len(model._forward_hooks) == 0


# -- in memory, and over shards ----------------------------------------------------------------------------------------


class Away(Attack):
    """Finds the adversarial point, and returns the clean image."""

    norms = ("linf",)

    def run(self, model: Any, samples: Samples, context: AttackContext) -> AttackResult:
        result = AttackResult.untouched(samples)
        point = samples.x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(functional.cross_entropy(model(point), samples.y), point)
        model(context.threat_model.project(samples.x + slope.sign(), samples.x))
        result.forwards += 2
        result.backwards += 1
        samples.x.zero_()
        samples.y.zero_()
        return result


@pytest.fixture
def away() -> Iterator[str]:
    registry.attacks.add("away", Away, origin="tests")
    yield "away"
    registry.attacks.remove("tests")


def test_evaluate_shows_the_flag(away: str) -> None:
    """The attack overwrites its samples, too: they are its own."""
    data = datasets.load(DatasetSpec(name="mnist", samples=12), Places())
    batch = data.batch(range(12))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    with torch.no_grad():
        y = model(batch.x).argmax(1)
    found = bench.evaluate(model, batch.x, y, threat_model="linf:0.2", attacks=[away, "fgsm"])
    table = found.table.set_index("attack")
    lost = round(12 * (table.loc[away, "robust_accuracy"] - table.loc["fgsm", "robust_accuracy"]))
    assert lost > 0
    assert table.loc[away, "flags"] == "silent-success"
    assert table.loc["fgsm", "flags"] == ""
    assert table.loc["worst case", "flags"] == "silent-success"
    assert any(f"{lost} of 12 unbroken samples" in flag and "(silent-success)" in flag for flag in found.flags)


def test_reports_from_before_have_none() -> None:
    old = {"samples": 3, "seconds": 1.0, "device": "cpu", "batch_size": 8}
    assert ShardReport.model_validate(old).silent == 0
