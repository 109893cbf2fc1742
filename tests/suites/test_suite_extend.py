"""``extends``: what is merged, what is replaced, and whose line an error points to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import Problem, SuiteError
from bench.suites.extend import read_extended
from bench.suites.load import load_suite

Write = Callable[..., Path]


def refused(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    return caught.value.problems


def test_mappings_are_merged_and_lists_replaced(write: Write) -> None:
    write(file="base.yaml", run="{seed: 1, shard_size: 64}")
    path = write("extends: base.yaml\nname: child\nattacks: [fgsm]\nrun: {shard_size: 32}\ndataset: {samples: 5}\n")
    suite = load_suite(path).suite
    assert suite.name == "child"
    assert [attack.name for attack in suite.attacks] == ["fgsm"]
    assert (suite.run.seeds, suite.run.shard_size) == ((1,), 32)
    assert (suite.dataset.name, suite.dataset.samples) == ("cifar10", 5)
    assert suite.models[0].name == "small"


def test_a_list_of_bases_is_merged_in_order(write: Write) -> None:
    write(file="one.yaml", run="{shard_size: 1}", description="one")
    write("description: two\nrun: {search: strongest}\n", file="two.yaml")
    suite = load_suite(write("extends: [one.yaml, two.yaml]\n")).suite
    assert (suite.description, suite.run.shard_size, suite.run.search) == ("two", 1, "strongest")


def test_bases_may_extend_and_share_a_base(write: Write) -> None:
    write(file="deep/root.yaml")
    write("extends: root.yaml\ndescription: left\n", file="deep/left.yaml")
    write("extends: root.yaml\nrun: {seeds: [4, 5]}\n", file="deep/right.yaml")
    suite = load_suite(write("extends: [deep/left.yaml, deep/right.yaml]\n")).suite
    assert (suite.name, suite.description, suite.run.seeds) == ("demo", "left", (4, 5))


@pytest.mark.parametrize("base", ["seeds: [1, 2]", "run: {seed: 1}", "run: {seeds: [1, 2]}"])
@pytest.mark.parametrize("own", ["seeds: [7]", "run: {seed: 7}", "run: {seeds: 7}"])
def test_seeds_replace_those_of_the_base_however_written(write: Write, base: str, own: str) -> None:
    section, _, value = base.partition(": ")
    write(file="base.yaml", **{section: value})
    assert load_suite(write(f"extends: base.yaml\n{own}\n")).suite.run.seeds == (7,)


def test_a_dataset_in_short_can_be_extended_and_can_extend(write: Write) -> None:
    write(file="base.yaml", dataset="cifar10")
    assert load_suite(write("extends: base.yaml\ndataset: {samples: 3}\n")).suite.dataset.samples == 3
    write(file="base.yaml", dataset="{name: two, samples: 9}")
    dataset = load_suite(write("extends: base.yaml\ndataset: cifar10\n")).suite.dataset
    assert (dataset.name, dataset.samples) == ("cifar10", 9)


def test_an_error_points_to_the_file_that_the_value_came_from(write: Write) -> None:
    base = write(file="base.yaml", dataset="{name: cifar10, samples: -1}")
    path = write("extends: base.yaml\n\nrun: {precision: half}\n")
    own, inherited = refused(path)
    assert (own.file, own.line, own.key) == (str(path), 3, "run.precision")
    assert (inherited.file, inherited.line, inherited.key) == (str(base), 7, "dataset.samples") or inherited.line == 2
    assert inherited.message == "out of range, got -1"


def test_a_file_that_extends_itself_is_refused(write: Write) -> None:
    path = write("extends: suite.yaml\n")
    (problem,) = refused(path)
    assert problem.message == "'suite.yaml' extends itself: suite.yaml -> suite.yaml"
    write("extends: b.yaml\n", file="a.yaml")
    b = write("\nextends: ./a.yaml\n", file="b.yaml")
    (problem,) = refused(write("extends: a.yaml\n", file="c.yaml"))
    assert (problem.file, problem.line) == (str(b), 2)
    assert problem.message.endswith("a.yaml -> b.yaml -> a.yaml")


def test_a_chain_that_is_too_long_is_refused(write: Write) -> None:
    for index in range(60):
        write(f"extends: f{index + 1}.yaml\n", file=f"f{index}.yaml")
    write(file="f60.yaml")
    (problem,) = refused(write("extends: f0.yaml\n"))
    assert "more than 32 files" in problem.message


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("bsae.yaml", "no such file: 'bsae.yaml'"),
        ("3", "extends must name a file, got 3"),
        ("[base.yaml, null]", "extends must name a file, got None"),
        ("{a: b}", "extends must name a file, got {'a': 'b'}"),
        ("", "extends must name a file, got None"),
        ('"a\\0b"', "no such file"),
        (".", "this is a directory"),
    ],
)
def test_what_cannot_be_extended_is_refused(write: Write, value: str, words: str) -> None:
    write(file="base.yaml")
    (problem,) = refused(write(f"name: x\nextends: {value}\n"))
    assert words in problem.message


def test_a_slip_in_the_name_of_a_base_gets_a_hint(write: Write) -> None:
    write(file="base.yaml")
    (problem,) = refused(write("extends: bsae.yaml\n"))
    assert problem.message.endswith("did you mean base.yaml?")
    assert problem.line == 1


def test_broken_yaml_in_a_base_names_the_base(write: Write) -> None:
    base = write("a: [\n", file="base.yaml")
    (problem,) = refused(write("extends: base.yaml\n"))
    assert problem.file == str(base)


def test_marks_survive_the_merge(write: Write, tmp_path: Path) -> None:
    write(file="base.yaml")
    root = read_extended(write("extends: base.yaml\ndataset: {samples: 3}\n"))
    assert isinstance(root.value, dict)
    dataset = root.value["dataset"].value
    assert isinstance(dataset, dict)
    assert dataset["name"].mark.file == str(tmp_path / "base.yaml")
    assert (dataset["samples"].mark.file, dataset["samples"].mark.line) == (str(tmp_path / "suite.yaml"), 2)
