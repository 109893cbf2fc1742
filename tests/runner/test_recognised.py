"""A finished run is known by its records and its files' digests; whatever else lies there is looked at again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store import parts
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

Write = Callable[..., Path]


def run(path: Path, *overrides: str) -> RunSummary:
    settings = RunSettings(results=path.parent / "results", device="cpu", places=Places(download=False))
    return run_suite(load_suite(path, overrides=overrides), settings)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The parts whose rows are read."""
    seen: list[Path] = []
    real = parts.read_rows

    def noted(path: Path, *more: object) -> parts.Part:
        seen.append(path)
        return real(path, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(parts, "read_rows", noted)
    return seen


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_a_finished_run_is_left_as_it_is_and_no_row_is_read(suite: Write, read: list[Path]) -> None:
    path = suite(samples=8)
    first = run(path)
    before = files(first.directory)
    read.clear()
    again = run(path)
    assert first.changed
    assert not again.changed
    assert not read
    assert again.results == first.results
    assert {**files(first.directory), ".lock": b""} == {**before, ".lock": b""}


def test_what_a_killed_driver_had_finished_is_known_too(suite: Write, read: list[Path]) -> None:
    path = suite(samples=8)
    first = run(path)
    (first.directory / "run.json").unlink()
    read.clear()
    again = run(path)
    assert again.changed
    assert not read
    assert RunDirectory(first.directory).read_run().finished is not None


@pytest.mark.parametrize("what", ["row", "record", "metrics", "samples", "list", "cut"])
def test_other_rows_records_or_metrics_are_looked_at_again(suite: Write, read: list[Path], what: str) -> None:
    path = suite(samples=8, attacks="fgsm")
    first = run(path)
    cell = first.results[0].cell
    directory, overrides = RunDirectory(first.directory), list[str]()
    (part,) = directory.sample_parts(cell)
    if what == "row":  # a verdict that says something else
        rows, reports = parts.read_rows(part)
        records = parts.to_records(rows)
        broken = next(place for place, record in enumerate(records) if record.success)
        records[broken] = records[broken]._replace(robust=True, success=False, correctness=1.0)
        parts.write_rows(part, records, reports)
    elif what == "record":
        record = directory.path / "cells" / f"{cell}.json"
        told = json.loads(record.read_text())
        told["metrics"]["robust_accuracy"]["value"] = 1.0
        record.write_text(json.dumps(told))
    elif what == "metrics":
        overrides = ["metrics=[clean_accuracy, robust_accuracy]"]
    elif what == "samples":
        overrides = ["dataset.samples=6"]
    elif what == "list":
        (directory.path / ".finished").unlink()
    else:
        listed = directory.path / ".finished"
        listed.write_text(listed.read_text()[:-10])
    read.clear()
    again = run(path, *overrides)
    rows = directory.read_samples(cell)
    found = again.results[0].metrics["robust_accuracy"]
    assert read
    assert again.changed
    assert found.value == rows["robust"][: again.results[0].samples].mean()
    assert not run(path, *overrides).changed


@pytest.mark.parametrize(
    ("option", "rule"),
    [("run.detector_steps", "no-detector-attack"), ("run.gradient_free_queries", "no-gradient-free-attack")],
)
def test_what_is_switched_off_later_is_told_of_finished_cells(suite: Write, option: str, rule: str) -> None:
    path = suite(samples=4, attacks="fgsm", defenses="feature_squeezing")
    on, off = f"{option}=3", f"{option}=0"
    flagged = [
        {flag.rule for result in run(path, said).results if result.role == "suite" and result.defense.name != "none"
         and result.attack_id == "fgsm" for flag in result.flags}
        for said in (on, off, on)
    ]  # fmt: skip
    assert [rule in flags for flags in flagged] == [False, True, False]


def test_a_file_that_is_gone_is_computed_again(suite: Write) -> None:
    path = suite(samples=8, attacks="fgsm", shard_size=4)
    first = run(path)
    RunDirectory(first.directory).sample_parts(first.results[0].cell)[1].unlink()
    again = run(path)
    assert again.changed
    assert again.results[0].metrics == first.results[0].metrics
