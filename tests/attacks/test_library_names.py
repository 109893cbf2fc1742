"""Every attack of foolbox and ART by its own name: what the tables say of it is so, and each of them runs."""

from __future__ import annotations

import inspect
import json
import logging
import sys
import warnings
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from bench import registry, threat_models
from bench._imports import prepare_torchvision
from bench.attacks import build, libraries
from bench.attacks.backends import art_named, foolbox_named, named, signatures
from bench.attacks.backends.asked import Asked, Queries
from bench.attacks.backends.foolbox import foolbox
from bench.attacks.backends.library_draws import seeded_generators
from bench.attacks.base import AttackContext, AttackResult, Samples
from bench.attacks.draws import Draws, global_seed
from bench.attacks.libraries import line
from bench.errors import AttackError, UnknownNameError
from bench.models.wrapper import CountedModel
from bench.suites.spec import AttackSpec

EPS = {"linf": "3/10", "l2": "2", "l1": "8"}
QUICK = {
    "steps": 4,
    "max_iter": 3,
    "binary_search_steps": 2,
    "directions": 30,
    "repeats": 4,
    "max_eval": 60,
    "init_eval": 10,
    "max_gradient_eval_steps": 60,
    "initial_gradient_eval_steps": 10,
    "query_limit": 200,
    "num_trial": 4,
    "k": 10,
    "nb_parallel": 8,
    "bin_search_tol": 0.5,
    "nb_random_init": 1,
    "max_doubling": 2,
    "max_halving": 2,
    "largest_const": 0.001,
}
SLOW = {
    "foolbox.LinfinityBrendelBethgeAttack",
    "foolbox.L2BrendelBethgeAttack",
    "foolbox.L1BrendelBethgeAttack",
    "art.BrendelBethgeAttack",
    "art.ThresholdAttack",
    "foolbox.PointwiseAttack",
}
"""numba compiles for half a minute; a search of every pixel takes a quarter of one."""
CASES = [
    pytest.param(name, norm, marks=[pytest.mark.slow] if name in SLOW else [])
    for name, entry in libraries.TABLE.items()
    if "alias" not in entry.facts
    for norm in entry.norms
]


class _Net(nn.Module):
    """Two layers, and classes that lie near each other."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 4, 3, stride=2), nn.Linear(36, 4)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.second(self.first(x).relu().flatten(1))
        return logits


@pytest.fixture
def model() -> CountedModel:
    return CountedModel(_Net(), num_classes=4)


@pytest.fixture
def samples(model: CountedModel) -> Samples:
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = model(x).argmax(1)
    model.passes.reset()
    return Samples(x, y, tuple("abcde"))


def arguments(name: str) -> dict[str, Any]:
    params = registry.attacks.entry(name).params
    assert params is not None
    return {key: value for key, value in QUICK.items() if key in params.model_fields}


def attacked(
    name: str, norm: str, model: Any, samples: Samples, args: dict[str, Any] | None = None, **context: Any
) -> AttackResult:
    spec = AttackSpec(name=name, args=arguments(name) if args is None else args)
    threat_model = threat_models.build(norm, Fraction(EPS[norm]))
    return build(spec, norm).run(model, samples, AttackContext(threat_model, Draws(0, name), **context))


# -- the tables --------------------------------------------------------------------------------------------------------


def test_the_parameters_are_those_of_the_installed_releases() -> None:
    """Fails when a library changes: python -m bench.attacks.backends.signatures"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert json.loads(json.dumps(signatures.everything())) == line.signatures()


def test_every_attack_of_the_libraries_is_listed_or_refused_with_a_reason() -> None:
    prepare_torchvision()
    from art.attacks import EvasionAttack, evasion

    attack = foolbox().attacks.base.Attack
    there = {f"foolbox.{name}" for name, kind in vars(foolbox().attacks).items() if _is(kind, attack)}
    there |= {f"art.{name}" for name, kind in vars(evasion).items() if _is(kind, EvasionAttack)}
    assert there == set(libraries.TABLE) | set(libraries.REFUSED)
    assert not set(libraries.TABLE) & set(libraries.REFUSED)


def _is(kind: object, base: type) -> bool:
    return inspect.isclass(kind) and issubclass(kind, base) and not inspect.isabstract(kind)


def test_geoda_still_needs_what_numpy_no_longer_has() -> None:
    assert "np.mat(" in inspect.getsource(signatures.attack("art", "GeoDA"))
    assert not hasattr(np, "mat")


def test_another_name_is_the_same_attack() -> None:
    for name, entry in libraries.TABLE.items():
        if "alias" in entry.facts:
            library, _, alias = name.partition(".")
            native = entry.facts["alias"].partition(".")[2]
            assert signatures.attack(library, alias) is signatures.attack(library, native)


def test_what_foolbox_says_of_norm_and_kind() -> None:
    base = foolbox().attacks.base
    norms = {"linf": foolbox().distances.linf, "l2": foolbox().distances.l2, "l1": foolbox().distances.l1}
    for one in libraries.foolbox.LINES:
        kind = getattr(foolbox().attacks, one.name)
        assert one.minimum_norm == issubclass(kind, base.MinimizationAttack), one.name
        if len(one.norms) == 1 and not isinstance(kind.distance, property):
            assert kind.distance is norms[one.norms[0]], one.name


def test_a_refused_name_says_why() -> None:
    with pytest.raises(UnknownNameError, match=r"art\.DPatch can't be used here: it attacks object detectors"):
        registry.attacks.entry("art.DPatch")
    with pytest.raises(UnknownNameError, match=r"did you mean art\.HopSkipJump") as caught:
        registry.attacks.entry("art.HopSkipJumpp")
    assert all(name.startswith("art.") for name in caught.value.known)
    with pytest.raises(UnknownNameError) as caught:
        registry.attacks.entry("pgdd")
    assert not any(name.startswith("art.D") for name in caught.value.known)
    assert "art.* (bench list attacks)" in caught.value.known


# -- each of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_it_runs_silently(
    name: str, norm: str, model: CountedModel, samples: Samples, capfd: pytest.CaptureFixture[str]
) -> None:
    entry = registry.attacks.entry(name)
    before = samples.x.clone()
    result = attacked(name, norm, model, samples)
    assert torch.equal(samples.x, before), "the clean images are nobody's to write into"
    assert result.x_adv.shape == samples.x.shape
    assert result.x_adv.dtype == torch.float32
    threat_model = threat_models.build(norm, Fraction(EPS[norm]))
    if not entry.facts.get("minimum_norm"):
        assert bool(threat_model.contains(result.x_adv, samples.x).all()) == (name not in LEAVES)
    assert float(result.forwards.sum()) == pytest.approx(model.passes.forward)
    assert float(result.backwards.sum()) == pytest.approx(model.passes.backward)
    assert (float(result.backwards.sum()) > 0) == (entry.facts["kind"] == "white-box")
    assert (result.queries is None) == (entry.facts["kind"] == "white-box")
    assert capfd.readouterr() == ("", "")
    assert torch.equal(attacked(name, norm, model, samples).x_adv, result.x_adv), "the same draws again"


LEAVES = {"foolbox.LinfAdditiveUniformNoiseAttack", "foolbox.LinfRepeatedAdditiveUniformNoiseAttack"}
"""foolbox 3.3.4 takes the largest entry of the noise for its largest absolute one; the judge makes that an error."""


@pytest.mark.parametrize("name", ["art.ThresholdAttack", "art.AutoAttack", "foolbox.LinfinityBrendelBethgeAttack"])
def test_a_package_that_is_not_there_is_named(
    name: str, model: CountedModel, samples: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = registry.attacks.entry(name).facts["needs_package"]
    monkeypatch.setattr(named, "find_spec", lambda one: None if one == package else find_spec(one))
    with pytest.raises(AttackError, match=rf"needs the package {package}: .*\[attacks\]"):
        attacked(name, "linf", model, samples)


@pytest.mark.parametrize("name", ["foolbox.LinfPGD", "art.ProjectedGradientDescentPyTorch", "art.HopSkipJump"])
def test_no_generator_is_left_changed(name: str, model: CountedModel, samples: Samples) -> None:
    kinds = np.random.RandomState, np.random.default_rng
    torch.manual_seed(5)
    np.random.seed(5)
    attacked(name, "linf", model, samples)
    after = torch.rand(1), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    assert after == (torch.rand(1), np.random.rand())
    assert (np.random.RandomState, np.random.default_rng) == kinds


def test_generators_that_a_library_makes_itself_are_seeded() -> None:
    def drawn(seed: int) -> list[float]:
        with seeded_generators(seed):
            assert isinstance(np.random.mtrand._rand, np.random.RandomState)
            own = np.random.RandomState(3).rand(), np.random.default_rng(3).random()
            return [
                np.random.RandomState().rand(),
                np.random.default_rng().random(),
                np.random.RandomState().rand(),
                *own,
            ]

    with seeded_generators(1), global_seed(7):
        inside = np.random.rand()
    with global_seed(7):
        assert np.random.rand() == inside, "what a defense draws from its keys stays its own"
    assert drawn(1) == drawn(1)
    assert drawn(1)[:3] != drawn(2)[:3]
    assert drawn(1)[3:] == [np.random.RandomState(3).rand(), np.random.default_rng(3).random()]
    assert len(set(drawn(1))) == 5


def test_what_takes_one_image_after_the_other_draws_the_same_in_any_company(
    model: CountedModel, samples: Samples
) -> None:
    together = attacked("art.HopSkipJump", "l2", model, samples)
    alone = attacked("art.HopSkipJump", "l2", model, samples.take(torch.tensor([3])))
    assert torch.equal(together.x_adv[3], alone.x_adv[0])
    assert together.forwards[3] == alone.forwards[0]
    assert len(set(together.forwards.tolist())) > 1, "counted for each image"


def test_the_library_gets_the_radius_and_the_norm(model: CountedModel, samples: Samples) -> None:
    threat_model = threat_models.build("linf", Fraction("3/10"))
    for name in ("art.FastGradientMethod", "foolbox.FGSM"):
        distance = threat_model.distance(attacked(name, "linf", model, samples).x_adv, samples.x)
        assert float(distance.amax()) == pytest.approx(0.3, abs=1e-4)
    attack = art_named.FastGradientMethod(registry.attacks.entry("art.FastGradientMethod").params())
    context = AttackContext(threat_model, Draws(0, "x"))
    assert attack.arguments(context)["eps_step"] == pytest.approx(0.1)
    given = registry.attacks.entry("art.FastGradientMethod").params(eps_step=0.02)
    assert art_named.FastGradientMethod(given).arguments(context)["eps_step"] == 0.02


def test_foolbox_finds_its_first_point_with_the_attack_that_was_named(model: CountedModel, samples: Samples) -> None:
    args = {"steps": 3, "init_attack": "SaltAndPepperNoiseAttack"}
    result = attacked("foolbox.BoundaryAttack", "l2", model, samples, args)
    assert result.x_adv.shape == samples.x.shape
    quick = {"name": "LinearSearchBlendedUniformNoiseAttack", "directions": 20, "steps": 10}
    few = attacked("foolbox.BoundaryAttack", "l2", model, samples, {"steps": 3, "init_attack": quick})
    many = attacked("foolbox.BoundaryAttack", "l2", model, samples, {"steps": 3, "init_attack": quick["name"]})
    assert few.forwards.sum() < many.forwards.sum()
    with pytest.raises(AttackError, match=r"init_attack: .* has no 'turns' .*accepted: .*directions"):
        attacked("foolbox.BoundaryAttack", "l2", model, samples, {"init_attack": {**quick, "turns": 3}})
    with pytest.raises(AttackError, match=r"init_attack: 'Nothing' .*accepted: .*SaltAndPepperNoiseAttack"):
        attacked("foolbox.BoundaryAttack", "l2", model, samples, {"init_attack": "Nothing"})


def test_an_unknown_class_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attack 'Nothing'"):
        foolbox_named.Nothing


# -- what the library asks ---------------------------------------------------------------------------------------------


class _Noisy(nn.Module):
    """Logits with noise that has no end."""

    stochastic, rejects, approximate, num_classes = True, False, False, 4

    def __init__(self, inside: CountedModel) -> None:
        super().__init__()
        self.inside, self.asked = inside, 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += 1
        return self.inside(x) + torch.randn(len(x), 4)  # type: ignore[no-any-return]


def test_what_a_library_says_goes_to_our_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    handlers = list(logging.getLogger("art").handlers)
    with caplog.at_level(logging.INFO, logger="bench"), named.quiet("art.Any"):
        logging.getLogger("art.attacks.evasion").warning("no starting point")
        warnings.warn("an old name", DeprecationWarning, stacklevel=1)
        sys.stdout.write("step 1\n")
        for _ in tqdm(range(3), disable=False):
            pass
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records] == [
        "art.Any: an old name", "art.Any: step 1", "art.Any: no starting point",
    ]  # fmt: skip
    assert logging.getLogger("art").propagate
    assert logging.getLogger("art").handlers == handlers


def test_a_stochastic_model_is_averaged_over_draws(model: CountedModel, samples: Samples) -> None:
    noisy = _Noisy(model)
    torch.manual_seed(0)
    with torch.no_grad():
        mean = Asked(noisy, draws=400, probabilities=False, queries=None)(samples.x)  # type: ignore[arg-type]
        assert noisy.asked == 400
        assert float((mean - model(samples.x)).abs().amax()) < 0.3
        asked = Asked(model, draws=400, probabilities=False, queries=None)
        assert torch.equal(asked(samples.x), model(samples.x)), "a deterministic one is asked once"


def test_a_library_that_wants_probabilities_gets_them(model: CountedModel, samples: Samples) -> None:
    with torch.no_grad():
        found = Asked(model, draws=1, probabilities=True, queries=None)(samples.x.double())
        assert torch.allclose(found, model(samples.x).softmax(1))


@pytest.mark.parametrize("budget", [1, 7, 40, 400])
@pytest.mark.parametrize(
    ("name", "norm"),
    [("art.HopSkipJump", "linf"), ("foolbox.HopSkipJumpAttack", "l2"), ("art.SquareAttack", "linf"),
     ("foolbox.BoundaryAttack", "l2"), ("art.SignOPTAttack", "l2"), ("foolbox.PointwiseAttack", "l1")],
)  # fmt: skip
def test_nothing_counts_that_was_asked_beyond_the_budget(
    name: str, norm: str, budget: int, model: CountedModel, samples: Samples
) -> None:
    """The same attack without a budget, every question recorded: what it knew by then is what counts."""
    asked: list[tuple[Tensor, Tensor]] = []

    class Recorded(CountedModel):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            asked.append((x.detach().clone(), logits.detach()))
            return logits

    one = samples.take(torch.tensor([2]))
    args = {**arguments(name), "steps": 400 if "Boundary" in name else 6, "max_iter": 60}
    args = {key: value for key, value in args.items() if key in registry.attacks.entry(name).params.model_fields}
    attacked(name, norm, Recorded(_Net(), num_classes=4), one, args)
    x, logits = torch.cat([x for x, _ in asked])[:budget], torch.cat([logits for _, logits in asked])[:budget]
    threat_model = threat_models.build(norm, Fraction(EPS[norm]))
    fooled = logits.argmax(1) != one.y
    distance = threat_model.distance(x, one.x.expand_as(x))
    inside = (fooled & threat_model.contains(x, one.x.expand_as(x))).nonzero().flatten()

    model.passes.reset()
    result = attacked(name, norm, model, one, {**args, "max_queries": budget})
    assert result.queries is not None
    assert int(result.queries) == (int(inside[0]) + 1 if len(inside) else 0)
    found = threat_model.distance(result.x_adv, one.x)
    if fooled.any():
        assert float(found) == pytest.approx(float(distance[fooled].amin()), rel=1e-5)
    elif len(torch.cat([x for x, _ in asked])) > budget:
        assert torch.equal(result.x_adv, one.x)
    assert model.passes.forward <= budget + len(asked[-1][0]) + max(len(x) for x, _ in asked)


def test_rows_belong_to_the_image_that_they_lie_near(model: CountedModel, samples: Samples) -> None:
    queries = Queries(samples, threat_models.build("linf", Fraction("1/10")), 4, budget=3, nearest=True)
    wrong = torch.nn.functional.one_hot((samples.y + 1) % 4, 4).float()
    right = torch.nn.functional.one_hot(samples.y, 4).float()
    order = torch.tensor([4, 4, 0, 2])
    points = samples.x[order] + torch.tensor([0.01, 0.02, 0.03, 0.2]).view(4, 1, 1, 1)
    points = points.clamp(0, 1)
    logits = torch.stack([right[4], wrong[4], wrong[0], wrong[2]])
    queries.look(points, logits)
    assert queries.count.tolist() == [1, 0, 1, 0, 2]
    assert queries.first.tolist() == [1, 0, 0, 0, 2]
    assert torch.equal(queries.points[4], points[1])
    assert torch.equal(queries.points[2], points[3]), "beyond eps, for minimum-norm attacks"
    assert not queries.spent
    queries.look(samples.x, right)
    queries.look((samples.x + 0.001).clamp(0, 1), wrong)  # the fourth of the last image: too late
    assert queries.first.tolist() == [1, 3 - 1, 3, 2, 2]
    assert torch.equal(queries.points[4], points[1])
    queries.look(samples.x, right)
    assert queries.spent


def test_an_image_that_is_broken_at_eps_needs_no_more_queries(model: CountedModel, samples: Samples) -> None:
    """A library stops asking about it, so that it would never spend its budget."""
    pair = samples.take(torch.tensor([0, 1]))
    for nearest, spent in ((True, False), (False, True)):
        queries = Queries(pair, threat_models.build("linf", Fraction("1/10")), 4, budget=2, nearest=nearest)
        wrong = torch.nn.functional.one_hot((pair.y + 1) % 4, 4).float()
        right = torch.nn.functional.one_hot(pair.y, 4).float()
        queries.look(pair.x, torch.stack([wrong[0], right[1]]))
        assert not queries.spent
        queries.look(pair.x[1:], right[1:])
        assert queries.spent == spent
        queries.forget()
        beyond = torch.where(pair.x > 0.5, pair.x - 0.3, pair.x + 0.3)
        queries.look(beyond, wrong)
        assert torch.equal(queries.points[1], beyond[1]) == nearest, (
            "a fixed-eps attack has no use for points beyond eps"
        )
