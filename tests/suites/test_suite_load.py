"""Loading a suite: short forms, paths, and every kind of mistake with its file, line, key, value and remedy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from bench.errors import Problem, SuiteError
from bench.suites.load import LoadedSuite, load_suite
from bench.suites.spec import Suite

Write = Callable[..., Path]


def refused(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    return caught.value.problems


def test_the_good_suite(write: Write) -> None:
    path = write()
    loaded = load_suite(str(path))
    assert isinstance(loaded, LoadedSuite)
    assert loaded.path == path
    assert loaded.suite == Suite.model_validate(
        {
            "name": "demo",
            "dataset": {"name": "cifar10", "samples": 100},
            "threat_models": [{"norm": "linf", "eps": Fraction(8, 255)}],
            "models": ["zoo:small"],
            "attacks": ["fgsm", {"name": "pgd", "args": {"steps": 20}}],
        }
    )
    assert loaded.plugins == ()
    assert loaded.sources.mark(("attacks", 1, "args", "steps")).line == 9  # type: ignore[union-attr]


def test_one_value_stands_for_a_list_of_one(write: Write) -> None:
    path = write(
        threat_models="linf:8/255",
        models="zoo:small",
        attacks="fgsm",
        defenses="jpeg",
        adversaries="adaptive",
        metrics="m",
    )
    suite = load_suite(path).suite
    assert [one.eps for one in suite.threat_models] == [Fraction(8, 255)]
    assert [one.id for one in suite.models] == ["small"]
    assert [one.name for one in suite.attacks] == ["fgsm"]
    assert [one.name for one in suite.defenses] == ["jpeg"]
    assert (suite.adversaries, suite.metrics) == (("adaptive",), ("m",))
    mapping = load_suite(write(attacks="{name: pgd, steps: 3}", include="{attack: pgd}")).suite
    assert mapping.attacks[0].args == {"steps": 3}
    assert mapping.include[0].attack == "pgd"


@pytest.mark.parametrize(
    ("written", "eps"),
    [
        ("8/255", Fraction(8, 255)),
        ("' 8 / 255 '", Fraction(8, 255)),
        ("0.5", Fraction(1, 2)),
        ("1e-3", Fraction(1, 1000)),
        (".25", Fraction(1, 4)),
        ("1", Fraction(1)),
        ("'0.031'", Fraction(31, 1000)),
    ],
)
def test_eps_is_exact(write: Write, written: str, eps: Fraction) -> None:
    assert load_suite(write(threat_models=f"[{{norm: Linf, eps: {written}}}]")).suite.threat_models[0].eps == eps


def test_numbers_in_scientific_form_are_numbers(write: Write) -> None:
    assert load_suite(write(attacks="[{name: pgd, alpha: 1e-3}]")).suite.attacks[0].args == {"alpha": 0.001}


def test_words_that_old_yaml_takes_for_booleans_are_text(write: Write) -> None:
    assert load_suite(write(name="on", description="no")).suite.description == "no"


def test_several_radii_make_several_threat_models(write: Write) -> None:
    threat_models = load_suite(
        write(threat_models="[{norm: l2, eps: [0.5, 1]}, {norm: linf, eps: 0.1}]")
    ).suite.threat_models
    assert [one.label for one in threat_models] == ["L2 0.5", "L2 1", "Linf 0.1"]


BROKEN: list[tuple[str, str, str, str, str]] = [
    # section, value, key of the problem, words of the message, words of what is accepted
    ("name", "a b", "name", "got 'a b'", "directory under results/"),
    ("name", "../up", "name", "starts with a letter or digit, got '../up'", ""),
    ("name", "3", "name", "wrong type, got 3", "text; put it in quotes"),
    ("name", "null", "name", "wrong type, got nothing (null)", "text"),
    ("name", "true", "name", "true and false are not wanted here, got true", ""),
    ("name", "[a]", "name", "wrong type, got ['a']", "text"),
    ("task", "segmentation", "task", "wrong value, got 'segmentation'", "classification"),
    ("dataset", "3", "dataset", "wrong type, got 3", "a mapping"),
    ("dataset", "[cifar10]", "dataset", "wrong type, got ['cifar10']", "a mapping"),
    ("dataset", "null", "dataset", "wrong type, got nothing (null)", "a mapping"),
    ("dataset", "{samples: 3}", "dataset.name", "'name' is missing", "bench list datasets"),
    ("dataset", "{name: cifar10, samples: -3}", "dataset.samples", "out of range, got -3", "at least 1"),
    ("dataset", "{name: cifar10, samples: 2.5}", "dataset.samples", "wrong type, got 2.5", "a whole number"),
    ("dataset", "{name: cifar10, samples: all}", "dataset.samples", "wrong type, got 'all'", "a whole number"),
    ("dataset", "{name: cifar10, samples: true}", "dataset.samples", "got true", ""),
    ("dataset", "{name: cifar10, split: tset}", "dataset.split", "wrong value, got 'tset'", "train, test or val"),
    (
        "dataset",
        "{name: cifar10, select: best}",
        "dataset.select",
        "wrong value, got 'best'",
        "first, random or stratified",
    ),
    ("dataset", "{name: cifar10, args: 3}", "dataset.args", "wrong type, got 3", "a mapping"),
    ("threat_models", "[]", "threat_models", "too few items, got []", "at least 1"),
    ("threat_models", "3", "threat_models", "wrong type, got 3", "a list"),
    ("threat_models", "[3]", "threat_models.0", "wrong type, got 3", "a mapping"),
    ("threat_models", "linf", "threat_models.0", "norm:eps, such as linf:8/255, got 'linf'", ""),
    ("threat_models", "[{norm: linf}]", "threat_models.0.eps", "'eps' is missing", "such as 8/255"),
    ("threat_models", "[{eps: 1}]", "threat_models.0.norm", "'norm' is missing", "linf"),
    ("threat_models", "[{norm: l3, eps: 1}]", "threat_models.0.norm", "wrong value, got 'l3'", "linf, l2, l1 or l0"),
    ("threat_models", "[{norm: linf, eps: 0}]", "threat_models.0.eps", "must be above 0, got 0", "8/255"),
    ("threat_models", "[{norm: linf, eps: -1/255}]", "threat_models.0.eps", "must be above 0, got '-1/255'", "8/255"),
    (
        "threat_models",
        "[{norm: linf, eps: 8/0}]",
        "threat_models.0.eps",
        "a fraction such as 8/255, got '8/0'",
        "8/255",
    ),
    ("threat_models", "[{norm: linf, eps: .nan}]", "threat_models.0.eps", "got nan", "8/255"),
    ("threat_models", "[{norm: linf, eps: .inf}]", "threat_models.0.eps", "got inf", "8/255"),
    ("threat_models", "[{norm: linf, eps: 1e999999999}]", "threat_models.0.eps", "got inf", "8/255"),
    ("threat_models", "[{norm: linf, eps: '1e999999999'}]", "threat_models.0.eps", "got '1e999999999'", "8/255"),
    ("threat_models", "[{norm: linf, eps: null}]", "threat_models.0.eps", "got None", "8/255"),
    ("threat_models", "[{norm: linf, eps: []}]", "threat_models.0.eps", "got []", "8/255"),
    ("threat_models", "[{norm: linf, eps: [0.1, x]}]", "threat_models.0.eps.1", "got 'x'", "8/255"),
    ("threat_models", "[{norm: linf, eps: true}]", "threat_models.0.eps", "got true", ""),
    (
        "threat_models",
        "[{norm: linf, eps: 1, ball: 2}]",
        "threat_models.0.ball",
        "unknown key 'ball', got 2",
        "norm, eps",
    ),
    ("models", "[]", "models", "too few items", "at least 1"),
    ("models", "[null]", "models.0", "wrong type, got nothing (null)", "a mapping"),
    ("models", "[[zoo:small]]", "models.0", "wrong type, got ['zoo:small']", "a mapping"),
    (
        "models",
        "[{name: small}]",
        "models.0.source",
        "'source' is missing",
        "robustbench, timm, checkpoint, trained, recipe, zoo",
    ),
    ("models", "[{source: zoo, name: small, mena: [1]}]", "models.0.mena", "did you mean mean", "architecture_args"),
    ("models", "[{source: zoo, name: small, mean: [a]}]", "models.0.mean.0", "wrong type, got 'a'", "a number"),
    ("models", "[{source: zoo, name: small, mean: 0.5}]", "models.0.mean", "wrong type, got 0.5", "a list"),
    ("models", "[{source: zoo, name: small, sha256: abc}]", "models.0.sha256", "wrong form, got 'abc'", "digest"),
    (
        "models",
        "[{source: zoo, name: small, clean_accuracy: 120}]",
        "models.0.clean_accuracy",
        "got 120",
        "at most 100",
    ),
    ("models", "[{source: zoo, name: small, id: 'a b'}]", "models.0.id", "got 'a b'", "the name in tables and files"),
    ("models", "[{source: zoo, name: [x]}]", "models.0.name", "wrong type, got ['x']", "text"),
    ("attacks", "[]", "attacks", "too few items", "at least 1"),
    ("attacks", "null", "attacks", "wrong type, got nothing (null)", "a list"),
    ("attacks", "3", "attacks", "wrong type, got 3", "a list"),
    ("attacks", "[3]", "attacks.0", "wrong type, got 3", "a mapping"),
    ("attacks", "[{steps: 3}]", "attacks.0.name", "'name' is missing", "bench list attacks"),
    ("attacks", "[{name: pgd, args: [1]}]", "attacks.0.args", "wrong type, got [1]", "a mapping"),
    (
        "attacks",
        "[{name: pgd, steps: 1, args: {steps: 2}}]",
        "attacks.0",
        "given twice, beside name and in args: steps",
        "",
    ),
    ("attacks", "[{name: null}]", "attacks.0.name", "wrong type, got nothing (null)", "text"),
    ("defenses", "[]", "defenses", "too few items", "at least 1"),
    ("adversaries", "[adaptive, blind]", "adversaries.1", "wrong value, got 'blind'", "oblivious, naive or adaptive"),
    ("adversaries", "[]", "adversaries", "too few items", "at least 1"),
    ("metrics", "[3]", "metrics.0", "wrong type, got 3", "text"),
    ("plugins", "[null]", "plugins.0", "wrong type, got nothing (null)", "text"),
    (
        "include",
        "[{modle: x}]",
        "include.0.modle",
        "unknown key 'modle', got 'x'; did you mean model?",
        "model, defense, attack",
    ),
    ("exclude", "[{model: 3}]", "exclude.0.model", "wrong value, got 3", "text or a list"),
    ("exclude", "[{model: [3]}]", "exclude.0.model", "wrong value, got", "text"),
    ("exclude", "[x]", "exclude.0", "wrong type, got 'x'", "a mapping"),
    ("run", "3", "run", "wrong type, got 3", "a mapping"),
    ("run", "{sede: 1}", "run.sede", "unknown key 'sede', got 1; did you mean seed", "seeds, precision"),
    ("run", "{seed: 1, seeds: [2]}", "run.seed", "give seed or seeds, not both", "one of the two"),
    ("run", "{seeds: []}", "run.seeds", "too few items", "at least 1"),
    ("run", "{seeds: [1, 1]}", "run.seeds", "distinct and at least 0, got [1, 1]", ""),
    ("run", "{seeds: [-1]}", "run.seeds", "distinct and at least 0, got [-1]", ""),
    ("run", "{seeds: [0.5]}", "run.seeds.0", "wrong type, got 0.5", "a whole number"),
    ("run", "{shard_size: 0}", "run.shard_size", "out of range, got 0", "at least 1"),
    ("run", "{shard_size: 1000000}", "run.shard_size", "out of range, got 1000000", "at most 4096"),
    (
        "attacks",
        "[{name: pgd, search: best}]",
        "attacks.0.search",
        "wrong value, got 'best'",
        "first_success or strongest",
    ),
    ("run", "{search: best}", "run.search", "wrong value, got 'best'", "first_success or strongest"),
    ("run", "{save_adversarial: some}", "run.save_adversarial", "wrong value", "none, successes or all"),
    ("run", "{reuse: some}", "run.reuse", "wrong value", "smaller_eps or none"),
    ("sedes", "[1]", "sedes", "unknown key 'sedes', got [1]; did you mean seeds?", "extends, seeds"),
    ("атака", "[1]", "атака", "unknown key 'атака', got [1]", "name, description"),
]


@pytest.mark.parametrize(("section", "value", "key", "words", "accepted"), BROKEN)
def test_a_mistake_is_named_with_line_key_value_and_remedy(
    write: Write, section: str, value: str, key: str, words: str, accepted: str
) -> None:
    path = write(**{section: value})
    (problem,) = refused(path)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text.startswith(f"{section}:"))
    assert (problem.file, problem.line, problem.key) == (str(path), line, key)
    assert words in problem.message
    assert accepted in problem.accepted
    assert str(problem).startswith(f"{path}:{line}: {key}: ")


@pytest.mark.parametrize("section", ["name", "dataset", "threat_models", "models", "attacks"])
def test_a_missing_section_is_named(write: Write, section: str) -> None:
    (problem,) = refused(write(**{section: ""}))
    assert problem.key == section
    assert problem.message == f"'{section}' is missing"
    assert problem.accepted


def test_seeds_in_two_places_are_refused(write: Write) -> None:
    (problem,) = refused(write(seeds="[1]", run="{seed: 2}"))
    assert problem.message == "give seeds at the top or under run, not both"
    assert (problem.line, problem.key) == (10, "seeds")


def test_the_line_is_that_of_the_bad_value_in_a_long_file(write: Write) -> None:
    text = (
        write()
        .read_text()
        .replace("  - {name: pgd, steps: 20}", "  - name: pgd\n    # why\n    id: a b\n    steps: 20")
    )
    (problem,) = refused(write(text))
    assert (problem.line, problem.key) == (11, "attacks.1.id")


def test_all_mistakes_are_reported_at_once_with_unknown_names_and_parameters(write: Write) -> None:
    path = write(
        """\
name: demo
dataset: {name: cifra10, samples: 0}
threat_models: [{norm: linf, eps: 8}, {norm: l0, eps: 2}, {norm: linf, eps: x}]
models:
  - {source: checkpoint, weights: a.pt}
  - zooo:small
attacks:
  - pdg
  - {name: pgd, stepz: 3}
  - {name: pgd, loss: hinge, id: a b}
defenses: [jpg]
metrics: [acuracy]
typo: 1
"""
    )
    problems = refused(path)
    assert [(problem.line, problem.key) for problem in problems] == [
        (2, "dataset.samples"),
        (2, "dataset.name"),
        (3, "threat_models.2.eps"),
        (3, "threat_models.0.eps"),
        (3, "threat_models.1.norm"),
        (5, "models.0.architecture"),
        (6, "models.1.source"),
        (8, "attacks.0.name"),
        (9, "attacks.1.stepz"),
        (10, "attacks.2.id"),
        (10, "attacks.2.loss"),
        (11, "defenses.0.name"),
        (12, "metrics.0"),
        (13, "typo"),
    ]


def test_names_are_not_judged_before_the_plugins_have_run(write: Write) -> None:
    (problem,) = refused(write(plugins="[mine.py]", attacks="[my_attack]", typo="1"))
    assert problem.key == "typo"


def test_paths_are_looked_for_beside_the_file_then_in_the_working_directory(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    (work / "there").mkdir(parents=True)
    (work / "there" / "b.pt").write_text("")
    (work / "here.pt").write_text("")
    (tmp_path / "suites" / "here.pt").parent.mkdir()
    (tmp_path / "suites" / "here.pt").write_text("")
    (tmp_path / "suites" / "plugin.py").write_text("")
    monkeypatch.chdir(work)
    path = write(
        file="suites/s.yaml",
        text="name: x\nthreat_models: linf:1\nattacks: fgsm\nplugins: plugin.py\n"
        "dataset: {name: npz, path: there}\n"
        "models:\n"
        "  - {source: checkpoint, weights: here.pt}\n"
        "  - checkpoint:there/b.pt\n"
        "  - {source: checkpoint, weights: nowhere/c.pt}\n"
        "  - {source: robustbench, name: X, directory: ../work/there}\n",
    )
    loaded = load_suite(path)
    assert [model.weights for model in loaded.suite.models] == [
        str(tmp_path / "suites" / "here.pt"),
        str(work / "there" / "b.pt"),
        "nowhere/c.pt",
        None,
    ]
    assert loaded.suite.models[3].directory == str(work / "there")
    assert loaded.suite.dataset.path == str(work / "there")
    assert loaded.plugins == (tmp_path / "suites" / "plugin.py",)
    assert loaded.suite.plugins == (str(tmp_path / "suites" / "plugin.py"),)
    assert [model.id for model in loaded.suite.models] == ["here", "b", "c", "X"]


def test_paths_of_a_base_are_relative_to_the_base_and_those_of_a_setting_to_the_working_directory(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("base", "top", "work"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "w.pt").write_text("")
    monkeypatch.chdir(tmp_path / "work")
    write(file="base/b.yaml", models="[{source: checkpoint, weights: w.pt}]")
    path = write("extends: ../base/b.yaml\n", file="top/t.yaml")
    assert load_suite(path).suite.models[0].weights == str(tmp_path / "base" / "w.pt")
    changed = load_suite(path, overrides=["models.w.weights=w.pt"])
    assert changed.suite.models[0].weights == str(tmp_path / "work" / "w.pt")


def test_a_home_directory_is_expanded(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pt").write_text("")
    assert load_suite(write(models="['checkpoint:~/w.pt']")).suite.models[0].weights == str(tmp_path / "w.pt")


@pytest.mark.parametrize("weights", ['"a\\0b"', "x" * 5000, '""', "/"])
def test_strange_paths_do_no_harm(write: Write, weights: str) -> None:
    load_suite(write(models=f"[{{source: checkpoint, weights: {weights}}}]"))


def test_many_models_load_quickly(write: Write) -> None:
    models = "\n".join(f"  - {{id: m{index}, source: zoo, name: small}}" for index in range(1500))
    assert len(load_suite(write(models="\n" + models)).suite.models) == 1500


def test_loading_imports_no_torch(write: Write) -> None:
    code = (
        "import sys\nfrom bench.suites.load import load_suite\nfrom bench.suites.check import check\n"
        "from bench.suites.expand import expand\nfrom bench.suites.schema import json_schema\n"
        "assert 'torch' not in sys.modules\n"
        f"loaded = load_suite({str(write(attacks='fgsm'))!r})\n"
        "try:\n    check(loaded)\nexcept Exception as error:\n    assert type(error).__name__ == 'SuiteError', error\n"
        "expand(loaded.suite); json_schema()\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'foolbox', 'art'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stderr


TWICE = """\
name: first
dataset: {name: cifar10, samples: 20}
threat_models: [linf:0.1]
models: [zoo:small]
attacks: [fgsmm, {name: pgd, steps: ten}]
name: second
"""


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        (TWICE, [], [(5, "attacks.0.name"), (5, "attacks.1.steps"), (6, "name")]),
        (TWICE.replace("ten", "10"), [], [(5, "attacks.0.name"), (6, "name")]),
        (TWICE.replace("ten", "10").replace("fgsmm", "fgsm"), [], [(6, "name")]),
        (TWICE, ["attacks.x.steps=3"], [(6, "name"), (None, "")]),
    ],
)
def test_a_key_that_stands_twice_hides_no_other_problem(
    tmp_path: Path, text: str, overrides: list[str], expected: list[tuple[int | None, str]]
) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError) as found:
        load_suite(path, overrides=overrides)
    assert sorted([(problem.line or 0, problem.key) for problem in found.value.problems]) == sorted(
        [(line or 0, key) for line, key in expected]
    )


def test_a_key_that_stands_twice_in_a_base_is_named_there(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(TWICE)
    path = tmp_path / "suite.yaml"
    path.write_text("extends: base.yaml\nattacks: [fgsmm]\n")
    with pytest.raises(SuiteError) as found:
        load_suite(path)
    places = {(Path(problem.file).name, problem.line) for problem in found.value.problems}
    assert ("base.yaml", 6) in places
