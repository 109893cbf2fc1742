"""``--set``: what it reaches, and what it says where it reaches nothing."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from bench.errors import Problem, SuiteError
from bench.suites.load import load_suite
from bench.suites.naming import resolve
from bench.suites.spec import Suite

Write = Callable[..., Path]


@pytest.fixture
def path(write: Write) -> Path:
    return write(
        threat_models="[{norm: linf, eps: [2/255, 8/255]}, 'l2:0.5']",
        models="[zoo:small, {id: mine.v2, source: checkpoint, architecture: cnn, weights: a.pt}, 'checkpoint:w/b.pt']",
        attacks="[fgsm, {name: pgd, steps: 20}, {id: long, name: pgd, args: {steps: 100}}]",
        defenses="[none, jpeg]",
        exclude="[{model: small, defense: jpeg}]",
    )


def changed(path: Path, *settings: str) -> Suite:
    return load_suite(path, overrides=settings).suite


def refused(path: Path, *settings: str) -> tuple[Problem, ...]:
    with pytest.raises(SuiteError) as caught:
        load_suite(path, overrides=settings)
    return caught.value.problems


def test_a_parameter_goes_to_every_item_of_that_name(path: Path) -> None:
    assert [one.args for one in changed(path, "attacks.pgd.steps=50").attacks] == [{}, {"steps": 50}, {"steps": 50}]


def test_an_id_is_more_exact_than_a_name(path: Path) -> None:
    assert [one.args for one in changed(path, "attacks.long.steps=7").attacks] == [{}, {"steps": 20}, {"steps": 7}]


def test_an_id_that_the_tables_show_is_an_address(write: Write) -> None:
    attacks = "[pgd, {name: pgd, steps: 20}, {name: pgd, steps: 20, alpha: 0.1}, {name: pgd, steps: 0.5, loss: no}]"
    path = write(attacks=attacks, defenses="[jpeg, {name: jpeg, quality: 30}]")
    before = load_suite(path).suite.model_copy(update={"attacks": load_suite(path).suite.attacks[:3]})
    ids = [one.id for one in resolve(before).attacks]
    assert ids == ["pgd-10", "pgd-20", "pgd-20-alpha0.1"]
    suite = changed(path, "attacks.3=fgsm", *(f"attacks.{one}.steps={steps}" for steps, one in enumerate(ids, start=1)))
    assert [one.args.get("steps") for one in suite.attacks] == [1, 2, 3, None]
    suite = changed(path, "attacks.3=fgsm", "defenses.jpeg-quality30.quality=10", "attacks.pgd-10.steps=20")
    assert [one.args for one in suite.defenses] == [{}, {"quality": 10}]


def test_an_id_stays_with_its_item_while_it_is_changed(path: Path) -> None:
    suite = changed(path, "attacks.pgd-20.steps=50", "attacks.pgd-20.loss=margin")
    assert [one.args for one in suite.attacks] == [{}, {"steps": 50, "loss": "margin"}, {"steps": 100}]
    suite = changed(path, "attacks=[{name: pgd, steps: 7}]", "attacks.pgd-7.restarts=2")
    assert [one.args for one in suite.attacks] == [{"steps": 7, "restarts": 2}]
    assert "pgd-20" not in refused(path, "attacks=[fgsm]", "attacks.pgd-20.steps=3")[0].accepted


def test_models_of_one_name_are_addressed_by_the_ids_of_the_tables(write: Write, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "w.pt").touch()
    path = write(models="[checkpoint:one/w.pt, {source: checkpoint, weights: two/w.pt, architecture: cnn}]")
    assert [one.id for one in resolve(load_suite(path).suite).models] == ["w-one.pt", "w-cnn-two.pt"]
    suite = changed(path, "models.w-one.pt.architecture=resnet18", "models.w-cnn-two.pt.id=second")
    assert [(one.id, one.architecture) for one in suite.models] == [("w", "resnet18"), ("second", "cnn")]


def test_a_radius_is_an_address_however_it_is_written(path: Path, write: Write) -> None:
    radii = [one.slug for one in changed(path, "threat_models.linf:16/510.eps=4/255").threat_models]
    assert radii == ["linf-2_255", "linf-4_255", "l2-0.5"]
    other = write(threat_models="[{norm: Linf, eps: 0.5}, 'l2:1/2']", file="other.yaml")
    assert [one.slug for one in changed(other, "threat_models.linf:0.5.eps=1").threat_models] == ["linf-1", "l2-0.5"]
    assert [one.slug for one in changed(other, "threat_models.l2:0.5=l2:3").threat_models] == ["linf-0.5", "l2-3"]


@pytest.mark.parametrize(
    "key", ["attacks.fgsm.loss", "attacks.0.loss", "attacks.0.args.loss", "attacks.fgsm.args.loss"]
)
def test_a_short_form_is_widened(path: Path, key: str) -> None:
    assert changed(path, f"{key}=margin").attacks[0].args == {"loss": "margin"}


@pytest.mark.parametrize("key", ["attacks.1.steps", "attacks.1.args.steps"])
def test_a_parameter_beside_the_name_and_in_args_is_the_same(path: Path, key: str) -> None:
    assert changed(path, f"{key}=3").attacks[1].args == {"steps": 3}


@pytest.mark.parametrize("key", ["attacks.2.steps", "attacks.2.args.steps"])
def test_a_parameter_in_args_is_replaced_there(path: Path, key: str) -> None:
    assert changed(path, f"{key}=3", "attacks.2.loss=margin").attacks[2].args == {"steps": 3, "loss": "margin"}


def test_keys_of_the_item_itself_are_set_on_the_item(path: Path) -> None:
    suite = changed(path, "attacks.fgsm.id=fast", "attacks.pgd.backend=foolbox", "defenses.jpeg.quality=10")
    assert suite.attacks[0].id == "fast"
    assert [one.backend for one in suite.attacks] == [None, "foolbox", "foolbox"]
    assert suite.defenses[1].args == {"quality": 10}


def test_models_are_addressed_by_id_name_and_short_form(path: Path) -> None:
    assert changed(path, "models.mine.v2.weights=c.pt").models[1].weights == "c.pt"
    assert changed(path, "models.b.architecture=cnn").models[2].architecture == "cnn"
    assert changed(path, "models.checkpoint:w/b.pt.architecture=cnn").models[2].architecture == "cnn"
    assert changed(path, "models.small.clean_accuracy=91.5").models[0].clean_accuracy == 91.5
    assert changed(path, "models.1.architecture_args.depth=3").models[1].architecture_args == {"depth": 3}


def test_threat_models_are_addressed_by_index_norm_and_form(path: Path) -> None:
    fractions = {one.slug: one.eps for one in changed(path, "threat_models.linf.eps=4/255").threat_models}
    assert fractions == {"linf-4_255": Fraction(4, 255), "l2-0.5": Fraction(1, 2)}
    assert changed(path, "threat_models.1.eps=1").threat_models[2].eps == 1
    assert changed(path, "threat_models.l2:0.5.eps=2").threat_models[2].eps == 2
    assert changed(path, "threat_models.0.eps.1=3/255").threat_models[1].eps == Fraction(3, 255)


def test_sections_and_sections_that_are_not_there(path: Path) -> None:
    suite = changed(
        path, "run.seeds=[0,1]", "dataset.samples=7", "metrics=[clean_accuracy]", "attacks=fgsm", "name=other"
    )
    assert (suite.run.seeds, suite.dataset.samples, suite.metrics, suite.name) == (
        (0, 1),
        7,
        ("clean_accuracy",),
        "other",
    )
    assert [one.name for one in suite.attacks] == ["fgsm"]
    assert changed(path, "exclude.0.model=mine.v2").exclude[0].model == "mine.v2"
    assert changed(path, "attacks.1=fgsm").attacks[1].name == "fgsm"


@pytest.mark.parametrize("written", ["seeds: [1, 2]", "run: {seed: 1}", "run: {seeds: [3]}", "run: {shard_size: 3}"])
@pytest.mark.parametrize("key", ["run.seed", "run.seeds", "seeds"])
def test_seeds_replace_seeds_however_written(write: Write, written: str, key: str) -> None:
    section, _, value = written.partition(": ")
    assert changed(write(**{section: value}), f"{key}=9").run.seeds == (9,)


def test_a_dataset_in_short_is_widened(write: Write) -> None:
    dataset = changed(write(dataset="cifar10"), "dataset.samples=3", "dataset.layout=nchw").dataset
    assert (dataset.name, dataset.samples, dataset.args) == ("cifar10", 3, {"layout": "nchw"})


def test_one_value_for_a_list_is_addressed_like_a_list(write: Write) -> None:
    path = write(attacks="pgd", models="zoo:small", threat_models="linf:8/255")
    suite = changed(path, "attacks.pgd.steps=3", "threat_models.0.eps=1/255", "models.small.id=x")
    assert (suite.attacks[0].args, suite.threat_models[0].eps, suite.models[0].id) == (
        {"steps": 3},
        Fraction(1, 255),
        "x",
    )


def test_later_settings_win_and_values_may_hold_equals_signs(path: Path) -> None:
    assert changed(path, "dataset.samples=3", "dataset.samples=4").dataset.samples == 4
    assert changed(path, "description='a=b: c'").description == "a=b: c"


@pytest.mark.parametrize(
    ("setting", "words", "accepted"),
    [
        ("attacks.pgd.steps", "there is no =", "key=value"),
        ("=3", "'' is not a place", "key=value"),
        ("attacks..steps=3", "'attacks..steps' is not a place", "key=value"),
        ("atacks.pgd.steps=3", "a suite has no 'atacks'; did you mean attacks?", "name, description"),
        ("attacks.pdg.steps=3", "attacks has no 'pdg'; did you mean pgd?", "fgsm, pgd-20, long, an index from 0 to 2"),
        ("attacks.3.steps=3", "attacks has no '3'", "an index from 0 to 2"),
        ("attacks.-1.steps=3", "attacks has no '-1'", "an index from 0 to 2"),
        ("attacks.99999999999999.steps=3", "attacks has no '99999999999999'", "fgsm"),
        ("models.larg.id=3", "models has no 'larg'", "small, mine.v2, b"),
        ("defenses.jpg.quality=3", "did you mean jpeg?", "none, jpeg, an index from 0 to 1"),
        ("threat_models.l2:1.eps=3", "has no 'l2:1'", "linf:2/255, linf:8/255, l2:0.5, an index from 0 to 1"),
        (
            "threat_models.linf:8/255.norm=l2",
            "is one of the radii of threat_models.0",
            "its eps, or threat_models.0.norm",
        ),
        ("threat_models.linf:8/255=l2:1", "is one of the radii of threat_models.0", "its eps"),
        ("include.0.model=x", "the suite has no include", "--set include=[...]"),
        ("exclude.5.model=x", "exclude has no '5'", "an index from 0"),
        ("run.foo.bar=3", "run has no 'foo'", "seeds, precision"),
        ("name.x=3", "name is 'demo': there is nothing inside it", "a mapping or a list"),
        ("threat_models.0.eps.9=3", "has no '9'", "an index from 0 to 1"),
        ("extends=a.yaml", "it is read before --set", "name"),
        ("dataset.samples=[", "not valid YAML", "valid YAML"),
        ("dataset={a: 1, a: 2}", "the key 'a' is there twice", "once"),
        ("dataset.samples=!!python/name:os.system", "is not allowed", "plain"),
    ],
)
def test_a_setting_that_reaches_nothing_is_refused(path: Path, setting: str, words: str, accepted: str) -> None:
    (problem,) = refused(path, setting)
    assert words in problem.message
    assert accepted in problem.accepted
    assert (problem.file, problem.line) == (f"--set {setting}", None)


def test_all_broken_settings_are_reported(path: Path) -> None:
    assert len(refused(path, "a=1", "b=2", "dataset.samples=5")) == 2


@pytest.mark.parametrize(
    ("setting", "key", "words"),
    [
        ("dataset.samples=many", "dataset.samples", "wrong type, got 'many'"),
        ("dataset.samples=", "dataset.samples", ""),
        (
            "attacks.pgd.stepz=3",
            "attacks.1.stepz",
            "unknown parameter 'stepz' of the attack pgd, got 3; did you mean steps?",
        ),
        ("threat_models.0.eps=0", "threat_models.0.eps", "eps must be above 0, got 0"),
        ("run.precision=half", "run.precision", "wrong value, got 'half'"),
        ("run.foo=1", "run.foo", "unknown key 'foo', got 1"),
        ("attacks.0={name: pgd, steps: no}", "attacks.0.steps", "wrong type, got 'no'"),
    ],
)
def test_a_bad_value_names_the_setting_instead_of_a_line(path: Path, setting: str, key: str, words: str) -> None:
    from bench.suites.check import check

    if setting.endswith("samples="):
        assert load_suite(path, overrides=[setting]).suite.dataset.samples is None
        return
    with pytest.raises(SuiteError) as caught:
        check(load_suite(path, overrides=[setting, "models.b.architecture=cnn"]))
    problem = caught.value.problems[0]
    assert (problem.file, problem.line, problem.key) == (f"--set {setting}", None, key)
    assert words in problem.message
    assert str(problem).startswith(f"--set {setting}: {key}: ")
