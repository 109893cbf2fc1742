"""Runs of one suite that were made apart, joined: what the joined run says is what one run of the whole suite says."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from bench import leaderboard
from bench.errors import BenchError, MergeError, PluginError, StoreError, WriteError
from bench.models.zoo.cards import cards
from bench.runner.events import Silent
from bench.runner.merge import Merged, merge_runs
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.runner.submit import Wanted, submit
from bench.runner.verify import verify_run
from bench.store import atomic, directories
from bench.store.audit import AuditRecord, Finding
from bench.store.outcomes import read_outcomes
from bench.store.parts import read_examples
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

PLACES = Places(download=False)
SUITE = """
name: small
dataset: {{name: mnist, samples: {samples}}}
threat_models: [{{norm: linf, eps: {eps}}}]
models: [{models}]
attacks: [{attacks}]
defenses: [{defenses}]
run: {{shard_size: 6, gradient_free_queries: 20, seeds: {seeds}}}
"""
FGSM, PGD = "fgsm", "{name: pgd, steps: 3}"
STANDARD, TRAINED = "zoo:mnist_standard", "zoo:mnist_pgd"


class Counted(Silent):
    """How many samples are evaluated."""

    samples = 0

    def begin(self, cells: int, done: int, samples: int) -> None:
        self.samples = samples


def write(path: Path, **words: object) -> Path:
    usual: dict[str, object] = {
        "samples": 12,
        "eps": 0.2,
        "models": STANDARD,
        "attacks": FGSM,
        "defenses": "none",
        "seeds": "[0]",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SUITE.format(**{**usual, **words}))
    return path


def run(results: Path, name: str, progress: Counted | None = None, **words: object) -> RunSummary:
    """Runs a suite into ``results/small/<name>``."""
    loaded = load_suite(write(results / f"{name}.yaml", **words))
    return run_suite(loaded, RunSettings(results, name, device="cpu", places=PLACES), progress)


def contents(directory: Path) -> dict[str, str]:
    """Every file but the lock, which any process leaves behind."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def merge(into: Path, *runs: Path, prefer: Path | None = None) -> Merged:
    """Joins runs, which stay as they are."""
    before = {run: contents(run) for run in runs if run.resolve() != into.resolve()}
    merged = merge_runs(runs, into, prefer=prefer, places=PLACES)
    assert {run: contents(run) for run in before} == before
    assert sorted(path.name for path in into.parent.iterdir() if path.name.startswith(".")) == []
    return merged


def rows(directory: Path) -> pd.DataFrame:
    frame = pd.read_parquet(directory / "samples")
    return frame.sort_values(["cell", "position"], ignore_index=True)


def board(directory: Path) -> pd.DataFrame:
    """``leaderboard.csv`` without what tells the two apart: the run's name, and how long it took."""
    run = RunDirectory(directory)
    leaderboard.write(run)
    frame = pd.read_csv(directory / "leaderboard.csv")
    return frame[[name for name in frame.columns if name != "run" and "seconds" not in name]]


def assert_whole(joined: Path, whole: Path) -> None:
    """The same tables, rows and examples as one run of the whole suite has; sound, and nothing left to attack."""
    pd.testing.assert_frame_equal(board(joined), board(whole))
    pd.testing.assert_frame_equal(rows(joined), rows(whole))
    one, other = RunDirectory(joined), RunDirectory(whole)
    assert one.read_run().cells == other.read_run().cells
    assert one.read_run().suite == other.read_run().suite
    for cell in other.read_run().cells:
        examples, others = one.read_examples(cell), other.read_examples(cell)
        assert examples.sample_ids == others.sample_ids
        assert (examples.images == others.images).all()
    assert_sound(joined)


def assert_sound(directory: Path) -> None:
    assert verify_run(directory, places=PLACES, device="cpu").problems == ()


def edit_rows(directory: Path, cell: str, change: Callable[[pd.DataFrame], None]) -> None:
    """Changes a cell's rows, and seals them as a run that had found just that."""
    store = RunDirectory(directory)
    for path in store.sample_parts(cell):
        table = pq.ParquetFile(path).read()
        frame = table.to_pandas()
        change(frame)
        changed = pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)
        pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path, compression="zstd")
    record = store.cell_path(cell)
    assert record is not None
    value = json.loads(record.read_text())
    seals = {name: hashlib.sha256(one.read_bytes()).hexdigest() for name, one in store.parts_of(cell).items()}
    value["provenance"]["parts"] = seals
    record.write_text(json.dumps(value, indent=1) + "\n")


def unbroken(count: int) -> Callable[[pd.DataFrame], None]:
    """Makes the first successes of every part robust."""

    def change(frame: pd.DataFrame) -> None:
        places = frame.index[frame["success"]][:count]
        frame.loc[places, ["success", "robust", "correctness"]] = [False, True, 1.0]

    return change


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole suite, and its two halves by models; not to be changed."""
    results = tmp_path_factory.mktemp("made")
    words = {"defenses": "none, bit_depth"}
    run(results, "whole", models=f"{STANDARD}, {TRAINED}", **words)
    run(results, "night-a", models=STANDARD, **words)
    run(results, "night-b", models=TRAINED, **words)
    return results / "small"


@pytest.fixture
def halves(made: Path, tmp_path: Path) -> Path:
    """Copies of the halves, to be changed."""
    for name in ("night-a", "night-b"):
        shutil.copytree(made / name, tmp_path / "small" / name)
    return tmp_path / "small"


@pytest.fixture(scope="module")
def one_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one cell; not to be changed."""
    return run(tmp_path_factory.mktemp("one"), "a").directory


@pytest.fixture
def twice(one_made: Path, tmp_path: Path) -> tuple[Path, Path, str]:
    """The same run from two machines, to be changed, and the id of its cell."""
    paths = [Path(shutil.copytree(one_made, tmp_path / "small" / name)) for name in ("a", "b")]
    value = json.loads((paths[1] / "run.json").read_text())
    (paths[1] / "run.json").write_text(json.dumps({**value, "run": "b"}))
    return paths[0], paths[1], RunDirectory(one_made).read_run().cells[0]


# -- what was made apart ----------------------------------------------------------------------------------------------


def test_halves_by_models(made: Path, tmp_path: Path) -> None:
    joined = tmp_path / "small" / "joined"
    merged = merge(joined, made / "night-a", made / "night-b")
    assert (merged.count("done"), merged.missing, merged.contradictions) == (len(merged.cells), (), ())
    assert_whole(joined, made / "whole")
    record = RunDirectory(joined).read_run()
    assert [one.name for one in record.joined] == ["night-a", "night-b"]
    assert record.joined[0].environment == RunDirectory(made / "night-a").read_run().environment
    for result in RunDirectory(joined).read_cells():
        name = "night-a" if result.model.id == "mnist_standard" else "night-b"
        assert result.provenance["joined"] == [{"run": name, "samples": 12}]
    parts = {path: path.stat().st_mtime_ns for path in joined.glob("samples/*/*")}
    counted = Counted()
    run(tmp_path, "joined", counted, models=f"{STANDARD}, {TRAINED}", defenses="none, bit_depth")
    assert counted.samples == 0
    assert {path: path.stat().st_mtime_ns for path in joined.glob("samples/*/*")} == parts
    assert RunDirectory(joined).read_run().joined == record.joined
    assert_whole(joined, made / "whole")


def test_halves_by_attacks_and_seeds(tmp_path: Path) -> None:
    whole = run(tmp_path, "whole", attacks=f"{FGSM}, {PGD}", seeds="[0, 1]").directory
    runs = [
        run(tmp_path, f"{number}-{seed}", attacks=attack, seeds=f"[{seed}]").directory
        for number, attack in enumerate((FGSM, PGD))
        for seed in (0, 1)
    ]
    merged = merge(tmp_path / "small" / "joined", *runs)
    assert merged.missing == ()
    assert_whole(merged.directory, whole)


def test_what_no_run_has_is_missing_until_it_is_run(tmp_path: Path) -> None:
    a = run(tmp_path, "a", models=STANDARD, attacks=FGSM, eps="[0.1, 0.2]").directory
    b = run(tmp_path, "b", models=TRAINED, attacks=PGD, eps="[0.1, 0.2]").directory
    joined = tmp_path / "small" / "joined"
    merged = merge(joined, a, b)
    assert {(one.label.split(" |")[0], one.label.split("| ")[-1]) for one in merged.missing} == {
        ("mnist_standard", "pgd-3"),
        ("mnist_pgd", "fgsm"),
    }
    outcome = read_outcomes(RunDirectory(joined))
    assert [row.complete for row in outcome.rows] == [False] * 4
    listed = RunDirectory(joined).read_run()
    assert listed.finished is None
    assert {one.kind for one in verify_run(joined, places=PLACES, device="cpu").problems} == {"missing"}
    counted = Counted()
    run(tmp_path, "joined", counted, models=f"{STANDARD}, {TRAINED}", attacks=f"{FGSM}, {PGD}", eps="[0.1, 0.2]")
    assert counted.samples == 4 * 12
    assert RunDirectory(joined).read_run().cells == listed.cells, "their ids were known before"
    assert_sound(joined)


def test_more_samples(tmp_path: Path) -> None:
    few = run(tmp_path, "few", models=STANDARD, defenses="none, bit_depth").directory
    more = run(tmp_path, "more", samples=18, models=STANDARD, defenses="none, bit_depth").directory
    other = run(tmp_path, "other", samples=10, models=TRAINED, defenses="none, bit_depth").directory
    merged = merge(tmp_path / "small" / "joined", few, more)
    assert_whole(merged.directory, more)
    merged = merge(merged.directory, other)
    assert {cell.lacking for cell in merged.cells if cell.status == "partial"} == {8}
    assert {cell.cell.model.id for cell in merged.cells if cell.status == "partial"} == {"mnist_pgd"}
    counted = Counted()
    words = {"samples": 18, "models": f"{STANDARD}, {TRAINED}", "defenses": "none, bit_depth"}
    run(tmp_path, "joined", counted, **words)
    assert counted.samples == 8 * merged.count("partial")
    assert_sound(merged.directory)
    verdicts = ["cell", "position", "clean_correct", "success", "robust"]
    pd.testing.assert_frame_equal(
        rows(merged.directory)[verdicts], rows(run(tmp_path, "whole", **words).directory)[verdicts]
    )


def test_shards_that_were_finished_apart(made: Path, halves: Path) -> None:
    """Two runs that were both killed, each with other shards: together they have all."""
    a, b = halves / "night-a", Path(shutil.copytree(halves / "night-a", halves / "c"))
    for directory, numbers in ((a, (1,)), (b, (0,))):
        for number in numbers:
            for path in directory.glob(f"*/*/part-0000{number}.*"):
                path.unlink()
        shutil.rmtree(directory / "cells")
    store = RunDirectory(made / "night-a")
    cell = store.read_cells()[0]
    RunDirectory(a).write_cell(cell.model_copy(update={"status": "error", "metrics": {}, "reason": "out of memory"}))
    merged = merge(halves / "joined", a, b)
    statuses = {one.id: one.status for one in merged.cells}
    assert statuses.pop(cell.cell) == "done"
    assert set(statuses.values()) == {"missing"}, "nothing tells what they are made of; their rows are there"
    run(halves.parent, "joined", counted := Counted(), defenses="none, bit_depth")
    assert counted.samples == 0
    assert_whole(halves / "joined", made / "night-a")


def test_done_beats_error_and_unavailable(tmp_path: Path) -> None:
    """Weights that weren't there one night, were damaged the next, and are there now."""
    weights = tmp_path / "w.safetensors"
    model = f"{{id: mine, source: checkpoint, architecture: mnist_cnn, weights: {weights}}}"
    absent = run(tmp_path, "absent", models=model)
    weights.write_bytes(b"nothing")
    damaged = run(tmp_path, "damaged", models=model)
    save_file(state(), weights)
    done = run(tmp_path, "done", models=model)
    assert [one.results[0].status for one in (absent, damaged, done)] == ["unavailable", "error", "done"]
    assert absent.results[0].cell != done.results[0].cell
    merged = merge(tmp_path / "small" / "joined", absent.directory, damaged.directory, done.directory)
    assert [cell.status for cell in merged.cells] == ["done"]
    pd.testing.assert_frame_equal(board(merged.directory), board(done.directory))
    assert_sound(merged.directory)
    merged = merge(tmp_path / "small" / "none", absent.directory)
    assert [cell.status for cell in merged.cells] == ["unavailable"]


def state() -> dict[str, torch.Tensor]:
    return load_file(cards()["mnist_standard"].path)


def test_an_error_with_a_damaged_file(twice: tuple[Path, Path, str], tmp_path: Path) -> None:
    a, b, cell = twice
    path = RunDirectory(a).sample_parts(cell)[1]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BenchError, match=r"part-00001\.parquet: damaged|files aren't those that it was finished with"):
        merge(tmp_path / "small" / "joined", a, b)
    again = run(tmp_path, "a")
    assert again.results[0].status == "error"
    merged = merge(tmp_path / "small" / "joined", a, b)
    assert [one.status for one in merged.cells] == ["done"]
    assert any("part-00001.parquet" in note and "left out" in note for note in merged.notes)
    assert_whole(merged.directory, b)


# -- what contradicts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 1])
def test_contradicting_runs_are_refused(twice: tuple[Path, Path, str], tmp_path: Path, first: int) -> None:
    """Whichever run comes first, and whichever is preferred, what one of them verified as broken is broken."""
    a, b, cell = twice
    whole = rows(a)
    edit_rows(b, cell, unbroken(1))
    runs = (a, b) if first == 0 else (b, a)
    joined = tmp_path / "small" / "joined"
    with pytest.raises(MergeError, match=r"2 of 12 verdicts.*\n.*2 of 12 shared samples have other verdicts \(mnist"):
        merge(joined, *runs)
    assert not joined.exists()
    for prefer in (a, b):
        merged = merge(joined, *runs, prefer=prefer)
        found = rows(joined)
        assert (found["success"] == whole["success"]).all()
        (told,) = (one for one in merged.contradictions if one.run == "b")
        assert (len(told.samples), told.broken) == (2, 2)
        (flag,) = (one for one in RunDirectory(joined).read_cells()[0].flags if one.rule == "joined-verdicts")
        assert (flag.severity, "2 samples" in flag.message) == ("warning", True)
        assert_sound(joined)
        shutil.rmtree(joined)


def test_one_sample_is_within_what_machines_differ_in(twice: tuple[Path, Path, str], tmp_path: Path) -> None:
    a, b, cell = twice
    whole = rows(a)
    done = {"left": 1}

    def one(frame: pd.DataFrame) -> None:
        if done.pop("left", 0):
            unbroken(1)(frame)

    edit_rows(a, cell, one)
    merged = merge(tmp_path / "small" / "joined", a, b)
    assert [(told.run, told.broken) for told in merged.contradictions] == [("a", 1)]
    assert (rows(merged.directory)["success"] == whole["success"]).all()
    (flag,) = (one for one in RunDirectory(merged.directory).read_cells()[0].flags if one.rule == "joined-verdicts")
    assert flag.severity == "info"
    assert RunDirectory(merged.directory).read_cells()[0].provenance["joined"] == [
        {"run": "a", "samples": 11},
        {"run": "b", "samples": 1},
    ]
    assert_sound(merged.directory)
    before = contents(merged.directory)
    again = merge(merged.directory, a, b)
    assert not again.changed
    assert contents(merged.directory) == before


def test_wrong_when_clean_counts_unless_the_other_run_is_preferred(
    twice: tuple[Path, Path, str], tmp_path: Path
) -> None:
    a, b, cell = twice

    def wrong(frame: pd.DataFrame) -> None:
        places = frame.index[frame["robust"]][:1]
        frame.loc[places, ["clean_correct", "robust", "clean_correctness", "correctness"]] = [False, False, 0.0, 0.0]

    edit_rows(a, cell, unbroken(4))  # so that there are some to turn
    edit_rows(b, cell, unbroken(4))
    edit_rows(b, cell, wrong)
    correct = {name: int(rows(path)["clean_correct"].sum()) for name, path in (("a", a), ("b", b))}
    assert correct["a"] == correct["b"] + 2
    for prefer, name in ((a, "a"), (b, "b")):
        joined = tmp_path / "small" / f"joined-{name}"
        merge(joined, a, b, prefer=prefer)
        assert int(rows(joined)["clean_correct"].sum()) == correct[name]


def test_changed_files_are_refused(twice: tuple[Path, Path, str], tmp_path: Path) -> None:
    """Joining would seal them anew, and nobody would ever find what was changed."""
    a, b, cell = twice
    record = RunDirectory(b).cell_path(cell)
    assert record is not None
    before = record.read_text()
    edit_rows(b, cell, unbroken(1))
    record.write_text(before)
    with pytest.raises(MergeError, match="aren't those that it was finished with"):
        merge(tmp_path / "small" / "joined", a, b)


# -- what isn't the same suite --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ("name: small", {"name: small": "name: other"}, r"name: small in one, other in other"),
        ("eps", {"eps: 0.2": "eps: [0.1, 0.2]"}, r"threat_models \(linf, with run.reuse\)"),
        ("shards", {"shard_size: 6": "shard_size: 8"}, r"run.shard_size: 6 in one, 8 in other"),
        ("search", {"shard_size: 6": "shard_size: 6, search: strongest"}, r"run.search"),
        ("selection", {"samples: 12": "samples: 12, select: random"}, r"dataset.select"),
        ("source", {"name: mnist": "name: mnist, source: samples"}, r"dataset.source"),
    ],
)
def test_another_suite(tmp_path: Path, one_made: Path, change: str, words: dict[str, str], message: str) -> None:
    text = write(tmp_path / "s.yaml").read_text()
    for old, new in words.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "s.yaml").write_text(text)
    settings = RunSettings(tmp_path, "other", device="cpu", places=PLACES)
    other = run_suite(load_suite(tmp_path / "s.yaml"), settings).directory
    first = Path(shutil.copytree(one_made, tmp_path / "first" / "one"))
    value = json.loads((first / "run.json").read_text())
    (first / "run.json").write_text(json.dumps({**value, "run": "one"}))
    with pytest.raises(MergeError, match=message):
        merge(tmp_path / "joined" / "joined", first, other)
    assert not (tmp_path / "joined" / "joined").exists()


def test_other_images_of_the_same_name(tmp_path: Path) -> None:
    """A file of images that was changed between two nights."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (8, 1, 28, 28), dtype=np.uint8), np.arange(8) % 10
    runs = []
    for name in ("a", "b"):
        np.savez(tmp_path / "mine.npz", x=images, y=labels)
        text = write(tmp_path / "s.yaml").read_text()
        words = f"{{name: npz, path: {tmp_path / 'mine.npz'}, num_classes: 10}}"
        (tmp_path / "s.yaml").write_text(text.replace("{name: mnist, samples: 12}", words))
        settings = RunSettings(tmp_path, name, device="cpu", places=PLACES)
        runs.append(run_suite(load_suite(tmp_path / "s.yaml"), settings).directory)
        images[3, 0, 0, 0] ^= 255
    with pytest.raises(MergeError, match="not the same images: the dataset's digest"):
        merge(tmp_path / "small" / "joined", *runs)


def test_other_weights_under_the_same_name(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    model = f"{{id: mine, source: checkpoint, architecture: mnist_cnn, weights: {weights}}}"
    first, runs = state(), []
    for name in ("a", "b"):
        save_file(first, weights)
        runs.append(run(tmp_path, name, models=model).directory)
        first = {key: value + 0.01 for key, value in first.items()}
    with pytest.raises(MergeError, match=r"mine \| Linf 0.2 \| fgsm: a and b differ: weights \w{12} and \w{12}"):
        merge(tmp_path / "small" / "joined", *runs)


def test_one_model_under_two_names(tmp_path: Path) -> None:
    runs = [
        run(tmp_path, name, models=f"{{id: {name}, source: zoo, name: mnist_pgd}}").directory for name in ("a", "b")
    ]
    with pytest.raises(MergeError, match="the model a is the model b of another run, under another name"):
        merge(tmp_path / "small" / "joined", *runs)


# -- all or nothing -----------------------------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from bench.runner.merge import merge_runs, writing
count = 0
def write_cell(stage, joined, sources, original=writing._cell):
    global count
    count += 1
    if count == {cell}:
        os._exit(9)
    original(stage, joined, sources)
writing._cell = write_cell
replace = writing.replace_directory
def replaced(new, old):
    if {end}:
        os._exit(9)
    replace(new, old)
writing.replace_directory = replaced
merge_runs([Path(one) for one in sys.argv[2:]], Path(sys.argv[1]))
"""


@pytest.mark.parametrize(("cell", "end"), [pytest.param(7, False, marks=pytest.mark.slow), (0, True)])
def test_killed_in_the_middle(made: Path, halves: Path, cell: int, end: bool) -> None:
    """What is at the place is what was there before: nothing, then a run; and once more, the same command ends well."""
    for into in (halves / "joined", halves / "night-a") if end else (halves / "night-a",):
        before = contents(into) if into.exists() else None
        runs = (halves / "night-a", halves / "night-b")
        done = subprocess.run(
            [sys.executable, "-c", KILLED.format(cell=cell, end=end), str(into), *map(str, runs)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 9, done.stderr
        assert (contents(into) if into.exists() else None) == before
        merge(into, *runs)
        pd.testing.assert_frame_equal(board(into), board(made / "whole"))
        assert_sound(into)
        shutil.rmtree(into)
        shutil.copytree(made / "night-a", halves / "night-a", dirs_exist_ok=True)


def test_a_disk_that_is_full_at_any_write(made: Path, halves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, flush, left = contents(halves / "night-a"), atomic._flush, 0

    def counted(path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(path)

    for fits in (0, 30):
        left = fits
        with monkeypatch.context() as patched:
            patched.setattr(atomic, "_flush", counted)
            with pytest.raises(WriteError, match="no space left"):
                merge_runs([halves / "night-b"], halves / "night-a")
        assert contents(halves / "night-a") == before
        assert sorted(path.name for path in halves.iterdir()) == ["night-a", "night-b"]
    merge(halves / "night-a", halves / "night-b")
    assert_whole(halves / "night-a", made / "whole")


def test_where_no_two_directories_can_change_places(made: Path, halves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems move the old run aside first; whoever was killed between the moves finds it back."""
    monkeypatch.setattr(directories, "exchanged", lambda one, other: False)
    os.rename(halves / "night-a", directories.aside(halves / "night-a"))
    merge(halves / "night-a", halves / "night-b")
    assert_whole(halves / "night-a", made / "whole")


def test_twice_changes_nothing(made: Path, tmp_path: Path) -> None:
    joined = tmp_path / "small" / "joined"
    merge_runs([made / "night-a", made / "night-b"], joined, dry_run=True)
    assert not joined.parent.exists()
    assert merge(joined, made / "night-a", made / "night-b").changed
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in joined.rglob("*") if path.is_file()}
    for runs in (
        (made / "night-a", made / "night-b"),
        (made / "night-b",),
        (made / "night-a", made / "night-a", joined),
    ):
        assert not merge(joined, *runs).changed
    now = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in joined.rglob("*") if path.is_file()}
    assert {path for path in before if now[path] != before[path]} <= {joined / ".lock"}


def test_one_after_the_other(made: Path, tmp_path: Path) -> None:
    joined = tmp_path / "small" / "joined"
    merge(joined, made / "night-b")
    merged = merge(joined, made / "night-a")
    assert [one.name for one in merged.record.joined] == ["night-b", "night-a"]
    expected = board(made / "whole").sort_values(["model", "defense"], ignore_index=True)
    found = board(joined).sort_values(["model", "defense"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)
    assert_sound(joined)


def test_into_one_of_the_runs(made: Path, halves: Path) -> None:
    (halves / "night-a" / "mine.txt").write_text("a note of the user's")
    merge(halves / "night-a", halves / "night-a", halves / "night-b")
    assert_whole(halves / "night-a", made / "whole")
    assert (halves / "night-a" / "mine.txt").read_text() == "a note of the user's"
    assert [one.name for one in RunDirectory(halves / "night-a").read_run().joined] == ["night-a", "night-b"]


def test_places_that_are_refused(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("\\documentclass{article}")
    with pytest.raises(StoreError, match="something else is there"):
        merge_runs([made / "night-a"], tmp_path / "mine")
    with pytest.raises(MergeError, match="lies inside"):
        merge_runs([made / "night-a"], made / "night-a" / "joined")
    with pytest.raises(StoreError, match=r"no run\.json"):
        merge_runs([tmp_path], tmp_path / "joined")
    with pytest.raises(MergeError, match="not one of the runs"):
        merge_runs([made / "night-a"], tmp_path / "joined", prefer=made / "night-b")


def test_a_run_that_is_being_written(halves: Path) -> None:
    for busy in ("night-a", "night-b"):
        with (
            RunDirectory(halves / busy).locked(),
            pytest.raises(StoreError, match=r"another bench process \(pid \d+\) is writing"),
        ):
            merge_runs([halves / "night-b"], halves / "night-a")


# -- what comes along -----------------------------------------------------------------------------------------------------


def test_examples_of_people(halves: Path) -> None:
    a = halves / "night-a"
    cell = next(one.cell for one in RunDirectory(a).read_cells() if one.attack_id == "fgsm" and one.role == "suite")
    examples = read_examples(RunDirectory(a).example_parts(cell)[0])
    np.savez(halves / "mine.npz", x_adv=examples.images, sample_ids=np.array(examples.sample_ids))
    submit(a, halves / "mine.npz", "Ann", Wanted(defense="none"), places=PLACES, device="cpu")
    merge(halves / "joined", halves / "night-b", a)
    assert RunDirectory(halves / "joined").read_run().cells[-1] == RunDirectory(a).read_run().cells[-1]
    (row,) = (
        row
        for row in read_outcomes(RunDirectory(halves / "joined")).rows
        if (row.model, row.defense) == ("mnist_standard", "none")
    )
    (submitted,) = row.of("submitted")
    assert submitted.valid
    assert int((~submitted.robust & submitted.clean_correct).sum()) == len(examples.sample_ids)
    assert_sound(halves / "joined")


def test_what_an_audit_called_invalid_stays_so(halves: Path) -> None:
    run = RunDirectory(halves / "night-a")
    cells = run.read_run().cells
    row = tuple(one.cell for one in run.read_cells() if one.defense_id == "none" and one.role == "suite")
    finding = Finding(
        rule="x", severity="invalid", message="no number", model="mnist_standard", defense="none", row=row
    )
    run.write_audit(AuditRecord(made="2026", samples=8, cells=dict.fromkeys(cells, ""), rules=(), findings=(finding,)))
    merge(halves / "joined", halves / "night-a", halves / "night-b")
    outcome = read_outcomes(RunDirectory(halves / "joined"))
    complete = {(row.model, row.defense): row.complete for row in outcome.rows}
    assert complete == {
        ("mnist_standard", "none"): False,
        ("mnist_standard", "bit_depth"): True,
        ("mnist_pgd", "none"): True,
        ("mnist_pgd", "bit_depth"): True,
    }
    assert outcome.outdated == len(outcome.record.cells)


def test_plugins_need_permission(tmp_path: Path, plugged: Callable[..., RunSummary]) -> None:
    directory = plugged("METRICS = {}\nATTACKS = {'other': object}", attacks="fgsm").directory
    with pytest.raises(PluginError, match="--allow-plugins"):
        merge_runs([directory], tmp_path / "joined")
    allowed = Places(download=False, allow_plugins=True)
    merged = merge_runs([directory], tmp_path / "joined", places=allowed)
    assert merged.count("done") == len(merged.cells) > 0
