"""A suite's words for common corruptions, and the cells that they become."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import MergeError, SuiteError
from bench.suites.check import check
from bench.suites.corruption_cells import expand_corruptions
from bench.suites.corruptions import NAMES
from bench.suites.expand import expand
from bench.suites.load import load_suite
from bench.suites.spec import Suite
from bench.suites.union import union

HEAD = """
name: small
dataset: {name: cifar10, samples: 5}
models: [zoo:small, {id: twice, source: checkpoint, weights: w.pt, architecture: cnn}]
"""


def load(tmp_path: Path, text: str) -> Suite:
    path = tmp_path / "suite.yaml"
    path.write_text(HEAD + text)
    loaded = load_suite(path)
    check(loaded)
    return loaded.suite


def kinds(suite: Suite) -> list[tuple[str, tuple[int, ...]]]:
    assert suite.corruptions is not None
    return [(kind.name, kind.severities) for kind in suite.corruptions.kinds]


FIVE = (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("all", [(name, FIVE) for name in NAMES]),
        ("fog", [("fog", FIVE)]),
        ("[snow, {name: fog, severities: [5, 1]}]", [("snow", FIVE), ("fog", (1, 5))]),
        ("{severities: 3}", [(name, (3,)) for name in NAMES]),
        ("{kinds: [{name: fog, severities: [1]}, frost], severities: [2, 4]}", [("fog", (1,)), ("frost", (2, 4))]),
    ],
)
def test_short_forms(tmp_path: Path, text: str, found: list[Any]) -> None:
    suite = load(tmp_path, f"corruptions: {text}")
    assert kinds(suite) == found
    assert Suite.model_validate_json(suite.model_dump_json()) == suite


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("corruptions: fogg", "unknown corruption 'fogg'; did you mean fog?"),
        ("corruptions: [fog, fog]", "the corruption fog stands twice"),
        ("corruptions: [all, fog]", "the corruption fog stands twice"),
        ("corruptions: []", "too few items"),
        ("corruptions: [{name: fog, severities: [6]}]", "severities are distinct whole numbers from 1 to 5, got [6]"),
        ("corruptions: [{name: fog, severities: [true]}]", "wrong type, got true"),
        ("corruptions: {kinds: fog, path: somewhere, seed: 3}", "seed is of what a library makes"),
        ("corruptions: {kind: fog}", "unknown key 'kind', got 'fog'; did you mean kinds?"),
        ("corruptions: fog\nattacks: fgsm", "attacks: attacks without threat_models"),
        ("corruptions: fog\nthreat_models: linf:0.1", "threat_models: threat_models without attacks"),
        ("corruptions: fog\nexclude: [{model: twice}]", "exclude chooses among attacks, and this suite has none"),
        ("models: [zoo:small]", "'threat_models' is missing"),
    ],
)
def test_what_cant_work_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


def test_one_fault_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, "corruptions: fogg")
    assert [problem.key for problem in caught.value.problems] == ["corruptions.kinds.0.name"]


def test_a_suite_of_corruptions_alone_has_no_attack_cells(tmp_path: Path) -> None:
    suite = load(
        tmp_path, "corruptions: [fog, {name: snow, severities: [2]}]\ndefenses: [{name: jpeg, quality: 75}, none]"
    )
    assert expand(suite) == ()
    cells = expand_corruptions(suite)
    assert [(cell.model.id, cell.defense_id) for cell in cells[::6]] == [
        ("small", "none"),
        ("small", "jpeg-quality75"),
        ("twice", "none"),
        ("twice", "jpeg-quality75"),
    ]
    assert [(cell.corruption, cell.severity) for cell in cells[:6]] == [*(("fog", one) for one in FIVE), ("snow", 2)]
    assert {cell.norm for cell in cells} == {"corruptions"}


def test_corruptions_leave_the_attack_cells_as_they_are(tmp_path: Path) -> None:
    attacked = "threat_models: linf:0.1\nattacks: fgsm\nexclude: [{model: twice}]\n"
    without, beside = load(tmp_path, attacked), load(tmp_path, attacked + "corruptions: fog")
    assert expand(beside) == expand(without)
    assert expand_corruptions(without) == ()
    cells = expand_corruptions(beside)
    assert [(cell.model.id, cell.norm) for cell in cells] == [("small", "linf")] * 5


def test_an_identity_has_the_severity_and_no_names_and_paths(tmp_path: Path) -> None:
    def ids(text: str) -> list[str]:
        cells = expand_corruptions(load(tmp_path, f"defenses: [{text}]\ncorruptions: fog"))
        return [cell.id({}).rsplit("-", 1)[-1] for cell in cells]

    plain = ids("{name: jpeg, quality: 75}")
    assert len(set(plain)) == 5  # the weights, which tell the two models apart, are among the facts
    assert ids("{name: jpeg, quality: 75, id: other}") == plain
    assert not set(ids("{name: jpeg, quality: 50}")) & set(plain)


def test_a_path_is_relative_to_the_suite(tmp_path: Path) -> None:
    (tmp_path / "CIFAR-10-C").mkdir()
    suite = load(tmp_path, "corruptions: {path: CIFAR-10-C}")
    assert suite.corruptions is not None
    assert suite.corruptions.path == str(tmp_path / "CIFAR-10-C")


def test_suites_are_joined_with_every_corruption_at_every_severity(tmp_path: Path) -> None:
    def suite(words: str) -> Suite:
        return load(tmp_path, f"corruptions: {words}")

    one = suite("{kinds: [{name: snow, severities: [5]}, fog]}")
    joined = union([("a", one), ("b", suite("[{name: snow, severities: [1]}, contrast]"))]).corruptions
    assert joined is not None
    assert [(kind.name, kind.severities) for kind in joined.kinds] == [
        ("snow", (1, 5)), ("fog", (1, 2, 3, 4, 5)), ("contrast", (1, 2, 3, 4, 5)),
    ]  # fmt: skip
    assert union([("a", one), ("b", one)]).corruptions == one.corruptions
    attacked = "threat_models: linf:0.1\nattacks: fgsm\n"
    beside, without = load(tmp_path, attacked + "corruptions: fog"), load(tmp_path, attacked)
    assert union([("a", without), ("b", beside)]).corruptions == beside.corruptions
    with pytest.raises(MergeError, match="corruptions: seed 0 in a, seed 1 in b"):
        union([("a", suite("{kinds: fog}")), ("b", suite("{kinds: fog, seed: 1}"))])
    with pytest.raises(MergeError, match="corruptions: seed 0 in a, published files in b"):
        union([("a", suite("{kinds: fog}")), ("b", suite("{kinds: fog, path: x}"))])
