"""Runs under common corruptions that were made apart, joined: what one run of the whole suite says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench.errors import MergeError
from bench.runner.merge import Merged, merge_runs
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.runner.verify import verify_run
from bench.store.corrupted import CorruptionStore, to_records
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

pytest.importorskip("imagecorruptions")
PLACES = Places(download=False)
SUITE = """
name: small
dataset: {{name: mnist, samples: {samples}}}
models: [{models}]
corruptions: [{corruptions}]
run: {{shard_size: 6}}
"""
STANDARD, TRAINED = "zoo:mnist_standard", "zoo:mnist_pgd"
CONTRAST, FOG = "{name: contrast, severities: [2, 4]}", "{name: fog, severities: [1]}"


def evaluated(folder: Path, name: str, **words: object) -> RunSummary:
    known = {"samples": 12, "models": STANDARD, "corruptions": CONTRAST, **words}
    (folder / f"{name}.yaml").write_text(SUITE.format(**known))
    settings = RunSettings(results=folder / "results", run=name, device="cpu", places=PLACES)
    return run_suite(load_suite(folder / f"{name}.yaml"), settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The whole suite, and its parts by model, corruption and samples."""
    folder = tmp_path_factory.mktemp("apart")
    runs = {
        "whole": {"models": f"{STANDARD}, {TRAINED}", "corruptions": f"{CONTRAST}, {FOG}"},
        "standard": {"corruptions": f"{CONTRAST}, {FOG}"},
        "trained": {"models": TRAINED, "corruptions": f"{CONTRAST}, {FOG}"},
        "contrast": {},
        "fog": {"corruptions": FOG},
        "few": {"samples": 7, "corruptions": f"{CONTRAST}, {FOG}"},
    }
    return {name: evaluated(folder, name, **words).directory for name, words in runs.items()}


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "small" / "joined"


def told(run: Path) -> dict[tuple[str, str, int], list[float]]:
    """What a run says of every image, by model, corruption and severity."""
    return {
        (row.label, cell.corruption, cell.severity): cell.correctness.tolist()
        for row in read_outcomes(RunDirectory(run)).corrupted
        for cell in row.cells
        if cell.status == "done"
    }


def joined(into: Path, *runs: Path, prefer: Path | None = None) -> Merged:
    return merge_runs(runs, into, prefer=prefer, places=PLACES)


def test_models_come_together(made: dict[str, Path], into: Path) -> None:
    done = joined(into, made["standard"], made["trained"])
    assert (done.count("done"), len(done.corrupted), done.missing) == (6, 6, ())
    assert told(into) == told(made["whole"])
    verified = verify_run(into, places=PLACES, device="cpu")
    assert verified.sound, verified.problems
    assert verified.corrupted_images == 72
    assert not joined(into, made["standard"]).changed


@pytest.mark.slow
def test_corruptions_come_together(made: dict[str, Path], into: Path) -> None:
    joined(into, made["contrast"], made["fog"])
    assert told(into) == told(made["standard"])
    joined(into, made["trained"])
    assert told(into) == told(made["whole"])


def test_more_samples_count_and_the_rest_of_the_suite_is_missing(made: dict[str, Path], into: Path) -> None:
    done = joined(into, made["few"], made["contrast"])
    assert [(one.cell.corruption, one.status, one.lacking) for one in done.corrupted] == [
        ("fog", "partial", 5), ("contrast", "done", 0), ("contrast", "done", 0),
    ]  # fmt: skip
    contrast = {key: shares for key, shares in told(made["standard"]).items() if key[1] == "contrast"}
    assert told(into) == contrast
    row = read_outcomes(RunDirectory(into)).corrupted[0]
    assert [cell.status for cell in row.cells] == ["partial", "done", "done"]
    done = joined(into.with_name("apart"), made["fog"], made["trained"])
    assert {one.label for one in done.missing} == {"mnist_standard | contrast 2", "mnist_standard | contrast 4"}


def rewritten(run: Path, tmp_path: Path, lost: int) -> Path:
    """The same run in which images of one cell are wrong that were right, as if another machine had made it."""
    copy = Path(shutil.copytree(run, tmp_path / "small" / "other"))
    store = CorruptionStore(RunDirectory(copy))
    cell = RunDirectory(copy).read_run().corruption_cells[0]
    rows, reports = store.read(cell)
    records = to_records(rows)
    right = [place for place, record in enumerate(records) if record.correct][:lost]
    changed = [records[place]._replace(correct=False, correctness=0.0, prediction=9) for place in right]
    store.write_shard(cell, 0, changed, reports[0])
    result = store.read_result(cell)
    assert result is not None
    store.write_result(result.model_copy(update={"provenance": {**result.provenance, "parts": store.seals(cell)}}))
    return copy


def test_wrong_counts_before_right_and_is_told(made: dict[str, Path], into: Path, tmp_path: Path) -> None:
    other = rewritten(made["contrast"], tmp_path, 1)
    done = joined(into, made["contrast"], other)
    assert any("1 sample with other verdicts in several runs; wrong counts before right" in note for note in done.notes)
    before, after = (told(run)["mnist_standard", "contrast", 2] for run in (made["contrast"], into))
    assert sum(after) == sum(before) - 1
    assert not verify_run(into, places=PLACES, device="cpu").sound  # whoever was wrong is found by the model


def test_runs_that_contradict_each_other_are_refused(made: dict[str, Path], into: Path, tmp_path: Path) -> None:
    other = rewritten(made["contrast"], tmp_path, 3)
    with pytest.raises(MergeError, match="3 of 24 verdicts on corrupted images"):
        joined(into, made["contrast"], other)
    assert not into.exists()
    joined(into, other, made["contrast"], prefer=made["contrast"])
    assert told(into) == told(made["contrast"])


def test_changed_files_are_refused(made: dict[str, Path], into: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(made["contrast"], tmp_path / "small" / "other"))
    part = next((other / "corruptions").glob("*/part-*.parquet"))
    part.unlink()
    with pytest.raises(MergeError, match="its files aren't those that it was finished with"):
        joined(into, other, made["fog"])
