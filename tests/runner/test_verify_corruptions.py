"""``verify_run`` on a real run under common corruptions: it is sound, and whatever somebody changes in it is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.digests import file_digest
from bench.runner.audit import AuditSettings, audit_run
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.runner.verify import Verification, verify_run
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

pytest.importorskip("imagecorruptions")
PLACES = Places(download=False)
SUITE = """
name: corrupted
dataset: {name: mnist, samples: 20}
models: zoo:mnist_standard
defenses: [none, {name: random_noise, std: 0.4, scoring_draws: 5}]
corruptions: [{name: contrast, severities: [2, 4]}]
run: {shard_size: 8}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verified")
    (folder / "suite.yaml").write_text(SUITE)
    settings = RunSettings(results=folder / "results", device="cpu", places=PLACES)
    return run_suite(load_suite(folder / "suite.yaml"), settings).directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def verified(run: Path) -> Verification:
    return verify_run(run, places=PLACES, device="cpu")


def said(done: Verification) -> dict[str, str]:
    """By kind, what was found; of one cell at most, or of the run."""
    assert len({problem.cell for problem in done.problems} - {""}) <= 1
    return {problem.kind: problem.message for problem in done.problems}


def record(run: Path, defense: str = "none", severity: int = 2) -> Path:
    found = (path for path in (run / "corruptions").glob("*.json"))
    return next(
        path
        for path in found
        if (value := json.loads(path.read_text()))["severity"] == severity and value["defense"]["name"] == defense
    )


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def rewrite(path: Path, column: str, value: object, *, sealed: bool = True) -> None:
    """Gives the first row of a cell another value, and seals the file again."""
    (part,) = path.with_suffix("").glob("part-*.parquet")
    table = pq.ParquetFile(part).read()
    place = table.schema.get_field_index(column)
    values = [value, *table.column(column).to_pylist()[1:]]
    pq.write_table(
        table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type)), part
    )
    if sealed:
        edit(path, lambda found: found["provenance"]["parts"].update({part.name: file_digest(part)}))


def test_what_was_run_is_sound(finished: Path) -> None:
    done = verified(finished)
    assert done.sound, done.problems
    assert [cell.label for cell in done.corrupted] == [
        "mnist_standard | contrast 2", "mnist_standard | contrast 4",
        "mnist_standard + random_noise-std0.4 | contrast 2", "mnist_standard + random_noise-std0.4 | contrast 4",
    ]  # fmt: skip
    assert [(cell.rows, cell.examples, cell.unchecked) for cell in done.corrupted] == [(20, 20, ())] * 4
    assert done.corrupted_images == done.as_json()["corrupted"][0]["examples"] * 4


@pytest.mark.parametrize(
    ("column", "value", "kind", "message"),
    [
        ("prediction", 9, "prediction", "prediction isn't what the model says"),
        pytest.param("correct", False, "row", "correct isn't the majority's", marks=pytest.mark.slow),
        pytest.param("confidence", 0.5, "prediction", "confidence isn't the model's", marks=pytest.mark.slow),
        pytest.param("margin", 0.5, "prediction", "margin isn't the model's", marks=pytest.mark.slow),
        ("corrupted_digest", "0" * 16, "corrupted-image", "isn't the one that is made or read here"),
        pytest.param("sample_digest", "0" * 16, "clean-image", "digest", marks=pytest.mark.slow),
        ("correctness", 0.0, "metrics", "accuracy is"),
        pytest.param(
            "clean_prediction", 9, "prediction", "clean_prediction isn't what the model says", marks=pytest.mark.slow
        ),
    ],
)
def test_a_changed_row_is_found(run: Path, column: str, value: object, kind: str, message: str) -> None:
    rewrite(record(run), column, value)
    assert message in said(verified(run))[kind]


def test_shares_of_draws_are_drawn_again(run: Path) -> None:
    path = record(run, "random_noise", 4)
    rewrite(path, "correctness", 0.55)
    assert "correctness isn't what the model says" in said(verified(run))["prediction"]


def test_files_are_those_that_were_finished(run: Path) -> None:
    rewrite(record(run), "margin", 5.0, sealed=False)
    assert "part-00000.parquet has the digest" in said(verified(run))["seal"]


@pytest.mark.slow
def test_a_part_that_is_gone_or_damaged(run: Path) -> None:
    (part,) = record(run).with_suffix("").glob("part-*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:100])
    assert "part-00000.parquet: damaged" in said(verified(run))["unreadable"]
    part.unlink()
    assert {"seal", "row"} <= set(said(verified(run)))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda value: value["accuracy"].update(value=0.99), "metrics", "accuracy is 0.99"),
        (lambda value: value.update(severity=3), "identity", "severity is 3, the suite in run.json has 2"),
        (lambda value: value.update(published=True), "identity", "published is True"),
        (lambda value: value["provenance"]["facts"]["corruption"].update(seed=7), "identity", "they give the id"),
        (lambda value: value.update(status="error", reason="x"), "not-verifiable", "it has no number: error: x"),
    ],
)
def test_a_changed_record_is_found(
    run: Path, change: Callable[[dict[str, Any]], object], kind: str, message: str
) -> None:
    edit(record(run), change)
    assert message in said(verified(run))[kind]


def test_a_cell_that_is_not_listed_or_has_no_record(run: Path) -> None:
    record(run).unlink()
    assert "no record of it under corruptions/" in said(verified(run))["missing"]
    gone = json.loads((run / "run.json").read_text())["corruption_cells"][0]
    edit(run / "run.json", lambda value: value["corruption_cells"].remove(gone))
    done = verified(run)
    assert "the corruption cell mnist_standard | contrast 2, which isn't among its cells" in said(done)["identity"]


@pytest.mark.slow
def test_other_words_of_the_suite_are_named(run: Path) -> None:
    edit(run / "run.json", lambda value: value["suite"]["corruptions"].update(seed=1))
    done = verified(run)
    assert {problem.kind for problem in done.problems} == {"identity"}  # a change of contrast draws nothing
    assert "corruption.seed was 0, here it is 1" in done.problems[0].message


@pytest.mark.slow
def test_of_many_images_some_are_judged_again(run: Path) -> None:
    done = verify_run(run, places=PLACES, device="cpu", corrupted=5)
    assert done.sound
    assert [cell.examples for cell in done.corrupted] == [5] * 4
    assert done.corrupted[0].unchecked == ("15 of 20 corrupted images weren't made again",)


def test_the_audit_takes_the_number_of_a_cell_that_disagrees(run: Path) -> None:
    audit_run(run, AuditSettings(PLACES, "cpu"))
    assert read_outcomes(RunDirectory(run)).corrupted[0].complete
    rewrite(record(run), "correctness", 0.0)
    audit_run(run, AuditSettings(PLACES, "cpu"))
    row = read_outcomes(RunDirectory(run)).corrupted[0]
    assert [cell.status for cell in row.cells] == ["error", "done"]
    assert row.cells[0].reason.startswith("the audit found: correctness isn't")
