"""Files and models that a defense names: where they lie, what of them counts, and what is wrong with them."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

from bench import registry
from bench.errors import SuiteError
from bench.suites.check import check
from bench.suites.expand import expand
from bench.suites.load import load_suite
from bench.suites.naming import resolve
from bench.suites.references import members
from bench.suites.schema import json_schema

SUITE = """\
name: demo
dataset: {{name: mnist, samples: 10}}
threat_models: [linf:0.1]
models: [{models}]
attacks: [fgsm]
defenses:
  - {defense}
"""


@pytest.fixture(autouse=True)
def real_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of bench themselves, not the small ones of these tests."""
    for table in registry.ALL.values():
        monkeypatch.setattr(table, "_table", dict(importlib.import_module(table.package).TABLE))


def write(folder: Path, defense: str, models: str = "zoo:mnist_standard") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "suite.yaml"
    path.write_text(SUITE.format(defense=defense, models=models))
    return path


def problem(path: Path) -> str:
    with pytest.raises(SuiteError) as caught:
        check(load_suite(path))
    return str(caught.value)


@pytest.mark.parametrize(
    "defense",
    [
        "{name: dncnn, weights: w.pt}",
        "{name: dncnn, args: {weights: w.pt}}",
        "{name: denoising_autoencoder, weights: w.pt}",
        "{chain: [jpeg, {name: dncnn, weights: w.pt}]}",
    ],
)
def test_a_file_lies_beside_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defense: str) -> None:
    path = write(tmp_path / "a", defense)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert load_suite(path).suite.defenses[0].links[-1].args["weights"] == "w.pt"  # there is none
    (tmp_path / "work" / "w.pt").touch()
    assert load_suite(path).suite.defenses[0].links[-1].args["weights"] == str(tmp_path / "work" / "w.pt")
    (tmp_path / "a" / "w.pt").touch()
    assert load_suite(path).suite.defenses[0].links[-1].args["weights"] == str(tmp_path / "a" / "w.pt")


def test_a_set_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a", "{name: dncnn, weights: w.pt}")
    (tmp_path / "a" / "v.pt").touch()
    (tmp_path / "v.pt").touch()
    monkeypatch.chdir(tmp_path)
    for address in ("dncnn", "dncnn-weightsw"):
        changed = load_suite(path, overrides=[f"defenses.{address}.weights=v.pt"])
        assert changed.suite.defenses[0].args["weights"] == str(tmp_path / "v.pt")


def test_a_model_of_the_zoo_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zoo:mnist_denoiser").touch()
    suite = load_suite(write(tmp_path, "denoising_autoencoder")).suite
    assert resolve(suite).defenses[0].args == {"weights": "zoo:mnist_denoiser"}
    cell = next(one for one in expand(suite) if one.defense.name != "none")
    assert cell.identity({})["defense"] == {
        "name": "denoising_autoencoder",
        "args": {"weights": "zoo:mnist_denoiser"},
    }


def identities(path: Path) -> list[str]:
    return [cell.id({}) for cell in expand(load_suite(path).suite)]


@pytest.mark.parametrize(
    "defense",
    [
        "{name: dncnn, weights: w.pt}",
        "{chain: [jpeg, {name: denoising_autoencoder, weights: w.pt}]}",
        "{name: ensemble, members: [{source: checkpoint, architecture: resnet18, weights: w.pt}]}",
        "{name: ensemble, members: [{source: robustbench, name: A, directory: w.pt}]}",
    ],
)
def test_where_a_file_lies_is_not_part_of_the_identity(tmp_path: Path, defense: str) -> None:
    paths = [write(tmp_path / name, defense) for name in "ab"]
    for path in paths:
        path.with_name("w.pt").touch()
    assert len(identities(paths[0])) > 2
    assert identities(paths[0]) == identities(paths[1])


def test_what_a_member_is_is_part_of_the_identity(tmp_path: Path) -> None:
    said = [
        "{source: checkpoint, architecture: resnet18, weights: w.pt}",
        "{source: checkpoint, architecture: resnet18, weights: w.pt, key: a}",
        "{source: checkpoint, architecture: resnet34, weights: w.pt}",
        "{source: checkpoint, architecture: resnet18, weights: w.pt, mean: [0.1], std: [0.2]}",
    ]
    paths = [write(tmp_path / str(place), f"{{name: ensemble, members: [{one}]}}") for place, one in enumerate(said)]
    assert len({tuple(identities(path)) for path in paths}) == 4


def test_members_lie_beside_the_suite_too(tmp_path: Path) -> None:
    member = "{source: checkpoint, architecture: resnet18, weights: w.pt}"
    path = write(tmp_path / "a", f"{{chain: [{{name: ensemble, members: [zoo:mnist_pgd, {member}]}}]}}")
    (tmp_path / "a" / "w.pt").touch()
    suite = load_suite(path).suite
    first, second = members(suite.defenses[0])
    assert (first.source, first.name, first.weights) == ("zoo", "mnist_pgd", None)
    assert (second.architecture, second.weights) == ("resnet18", str(tmp_path / "a" / "w.pt"))
    assert members(resolve(suite).defenses[0]) == (first, second)
    assert resolve(resolve(suite)) == resolve(suite)


def test_ids_say_which_file_and_which_members(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    defense = "{name: dncnn, weights: w.pt}\n  - {name: ensemble, members: zoo:mnist_pgd}\n"
    member = "{source: checkpoint, architecture: lenet, weights: w.pt}"
    defense += f"  - {{name: ensemble, members: [zoo:mnist_pgd, {member}], combine: vote}}"
    suite = resolve(load_suite(write(tmp_path, defense)).suite)
    assert [one.id for one in suite.defenses] == [
        "dncnn-weightsw",
        "ensemble-membersmnist_pgd",
        "ensemble-membersmnist_pgd+w-combinevote",
    ]


REFUSED = {
    "zoo:mnist_pdg": "members.0.name: zoo has no model 'mnist_pdg'; did you mean mnist_pgd",
    "zoo:mnist_denoiser": "members.0.name: zoo:mnist_denoiser is a denoiser: it gives images, not logits; use it as a defense",
    "{source: zo, name: a}": "members.0.source: unknown source of models 'zo'; did you mean zoo?",
    "{source: checkpoint, weights: w.pt}": "members.0.architecture: the model w has no architecture: checkpoint needs one",
    "{source: checkpoint, weights: w.pt, architecture: resnet81}": "members.0.architecture: unknown architecture",
    "{source: zoo, name: mnist_pgd, mean: [0.1]}": "members.0.mean: zoo doesn't use mean",
    "{source: zoo, nam: mnist_pgd}": "members.0.nam: unknown parameter 'nam' of the defense ensemble",
    "3": "members.0: wrong type, got 3",
}


@pytest.mark.parametrize("member", REFUSED)
def test_wrong_members_are_refused_with_their_line(tmp_path: Path, member: str) -> None:
    path = write(tmp_path, f"{{name: ensemble, members: [{member}]}}")
    assert f"{path}:7: defenses.0.{REFUSED[member]}" in problem(path)


def test_an_ensemble_needs_members(tmp_path: Path) -> None:
    assert "defenses.0.members: too few items, got []" in problem(write(tmp_path, "{name: ensemble, members: []}"))
    assert "'members' of the defense ensemble is missing" in problem(write(tmp_path, "ensemble"))
    two = "{chain: [jpeg, {name: ensemble, members: [zoo:mnist_pgd], combine: sum}]}"
    assert "defenses.0.chain.1.combine: wrong value, got 'sum'" in problem(write(tmp_path, two))


def test_a_denoiser_is_no_model_to_attack(tmp_path: Path) -> None:
    path = write(tmp_path, "none", models="zoo:mnist_denoiser")
    assert problem(path) == (
        f"{path}:4: models.0.name: zoo:mnist_denoiser is a denoiser: it gives images, not logits; use it as a defense "
        "({name: denoising_autoencoder, weights: zoo:mnist_denoiser}) (accepted: "
        f"{', '.join(sorted(registry.models.entry('zoo').facts['models']))})"
    )


def test_the_schema_takes_members_as_models() -> None:
    schema = json_schema()
    members = schema["$defs"]["defense_ensemble"]["properties"]["members"]
    assert members["anyOf"][0] == {"type": "array", "items": members["anyOf"][1], "minItems": 1}
    assert {"const": "zoo:mnist_pgd"} in members["anyOf"][1]["anyOf"]
    assert "defense_ensemble_ModelSpec" not in schema["$defs"]
    assert set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema))) <= set(schema["$defs"])
