"""What ``bench clean`` finds: exactly what nothing refers to, and what is left is a run as before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import corrupted_run
import numpy as np
import pytest

from bench import leaderboard
from bench.errors import StoreError
from bench.runner.audit import AuditSettings, audit_run
from bench.runner.events import Silent
from bench.runner.merge import merge_runs
from bench.runner.options import RunSettings
from bench.runner.orphans import find, remove, runs_in, stage
from bench.runner.run import RunSummary, run_suite
from bench.runner.submit import Wanted, submit
from bench.runner.verify import verify_run
from bench.store.parts import Examples, read_examples, write_examples
from bench.store.probes import RowProbes
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.load import load_suite
from bench.suites.places import Places

PLACES = Places(download=False)
SUITE = """
name: small
dataset: {{name: mnist, samples: 8}}
threat_models: [{{norm: linf, eps: {eps}}}]
models: [{models}]
attacks: [fgsm]
defenses: [none, bit_depth]
run: {{shard_size: 4, gradient_free_queries: 20}}
"""
BOTH, ONE = "zoo:mnist_standard, zoo:mnist_pgd", "zoo:mnist_standard"


class Counted(Silent):
    """How many samples are evaluated."""

    samples = 0

    def begin(self, cells: int, done: int, samples: int) -> None:
        self.samples = samples


def run(folder: Path, progress: Counted | None = None, *, models: str = ONE, eps: str = "0.2") -> RunSummary:
    path = folder / "small.yaml"
    path.write_text(SUITE.format(models=models, eps=eps))
    return run_suite(load_suite(path), RunSettings(folder / "results", device="cpu", places=PLACES), progress)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of two models that has only one of them now; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    run(folder, models=BOTH)
    return run(folder, models=ONE).directory


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "results" / "small" / "default"))


def probes(model: str, key: str) -> RowProbes:
    return RowProbes(
        key=key, model=model, defense="none", threat_model="linf:1/5", positions=(0,), clean_correct=(True,), probes={}
    )


def test_exactly_the_orphans_are_removed(directory: Path, tmp_path: Path) -> None:
    store = RunDirectory(directory)
    whole = contents(directory)
    cells = store.read_run().cells
    gone = {path.stem for path in (directory / "cells").glob("*.json")} - set(cells)
    assert len(gone) == 5
    first = sorted(gone)[0]
    record = (directory / "cells" / f"{first}.json").read_bytes()
    (directory / "cells" / f"{first}.json").unlink()
    store.write_probes("kept", probes("mnist_standard", "0" * 12))
    store.write_probes("gone", probes("mnist_pgd", "1" * 12))
    mine = {
        "notes.txt": b"mine",
        "cells/my-notes.json": b"{}",
        f"cells/mine-{'a' * 12}.json": b'{"cell": "other"}',
        f"samples/{first}/mine.csv": b"a,b",
        "samples/part-00000.parquet": b"mine",
        ".mine.tmp": b"mine",
        "plots/gallery-of-mine.png": b"mine",
        "probes/mine.json": b"{}",
    }
    ours = {
        "samples/.part-00000.parquet.123.tmp": b"half",
        "plots/gallery-linf-0.9.png": b"old",
        "plots/curves-l2.pdf": b"old",
    }
    for name, content in {**mine, **ours}.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)
    found = find(store)
    kinds: dict[str, set[str]] = {}
    for orphan in found.orphans:
        kinds.setdefault(orphan.kind, set()).add(orphan.name)
        assert orphan.bytes == sum(path.stat().st_size for path in orphan.files) > 0
    assert kinds == {
        "cell that the suite no longer has": gone - {first},
        "rows or examples of no cell": {first},
        "probes of no row": {f"gone-{'1' * 12}"},
        "plot of what is gone": {"gallery-linf-0.9.png", "curves-l2.pdf"},
        "half-written file": {"samples/.part-00000.parquet.123.tmp"},
    }
    remove(store, found.orphans)
    hashes = {hash_of(cell) for cell in gone}
    expected = {name: content for name, content in whole.items() if not any(one in name for one in hashes)}
    kept = {path: content for path, content in contents(directory).items() if path != f"probes/kept-{'0' * 12}.json"}
    assert kept == {**expected, **mine}
    assert len(record) > 0
    assert len(expected) < len(whole)
    assert find(store).orphans == ()
    assert not [path for path in (directory / "adversarial").iterdir() if not any(path.iterdir())]


def test_corruption_cells_that_the_suite_no_longer_has_are_removed(tmp_path: Path) -> None:
    def built(name: str, corruptions: list[str]) -> RunDirectory:
        return corrupted_run.build(tmp_path / name, [{"name": one, "severities": [1, 2]} for one in corruptions])

    store, now = built("run", ["fog", "snow"]), built("now", ["fog"])
    before = contents(store.path)
    assert find(store).orphans == ()
    store.write_run(now.read_run())
    gone = {cell for cell in store_cells(before) if "snow" in cell}
    rows = store.path / "corruptions" / f"{min(gone)}.json"
    rows.unlink()
    mine = store.path / "corruptions" / "notes.json"
    mine.write_text("{}")
    found = find(store)
    assert len(gone) == 2
    assert {(one.kind, one.name) for one in found.orphans} == {
        ("rows or examples of no cell", min(gone)),
        ("cell that the suite no longer has", max(gone)),
    }
    remove(store, found.orphans)
    after = contents(store.path)
    assert mine.exists()
    assert store_cells(after) == store_cells(before) - gone
    assert not [name for name in after if "snow" in name]
    assert find(store).orphans == ()


def store_cells(files: dict[str, bytes]) -> set[str]:
    """The corruption cells that have rows."""
    return {name.split("/")[1] for name in files if name.startswith("corruptions/") and name.endswith(".parquet")}


def test_a_cleaned_run_is_a_run_as_before(directory: Path) -> None:
    store = RunDirectory(directory)
    leaderboard.write(store)
    before = (directory / "leaderboard.csv").read_bytes()
    remove(store, find(store).orphans)
    assert verify_run(directory, places=PLACES, device="cpu").problems == ()
    audit_run(directory, AuditSettings(PLACES, "cpu", samples=0))
    (directory / "audit.json").unlink()
    leaderboard.write(store)
    assert (directory / "leaderboard.csv").read_bytes() == before
    folder = directory.parents[2]
    run(folder, counted := Counted(), models=ONE)
    assert counted.samples == 0
    run(folder, counted := Counted(), models=BOTH)
    assert counted.samples == 5 * 8, "what was removed is evaluated again, and nothing else"


def test_nothing_that_is_needed_is_an_orphan(tmp_path: Path) -> None:
    """Prerequisites, and the smaller eps that cells build on."""
    store = RunDirectory(run(tmp_path, eps="[0.1, 0.2]").directory)
    results = store.read_cells()
    assert any(one.role == "prerequisite" for one in results)
    assert any("smaller_eps" in one.provenance["facts"] for one in results)
    assert find(store).orphans == ()
    record = store.read_run()
    built = [one for one in results if "smaller_eps" in one.provenance["facts"]]
    store.write_run(record.model_copy(update={"cells": tuple(one.cell for one in built)}))
    below = {one.provenance["facts"]["smaller_eps"] for one in built}
    assert {hash_of(orphan.name) for orphan in find(store).orphans}.isdisjoint(below)


def test_examples_whose_rows_were_never_written(directory: Path) -> None:
    store = RunDirectory(directory)
    cell = store.read_run().cells[0]
    path = store.part_path("adversarial", cell, 9)
    write_examples(path, Examples(("x",), np.zeros((1, 1, 28, 28), np.float32)))
    lost = [one for one in find(store).orphans if one.kind == "examples without their rows"]
    assert [(one.name, one.files) for one in lost] == [(cell, (path,))]
    store.sample_parts(cell)[0].unlink()
    (one,) = (one for one in find(store).orphans if one.kind == "examples without their rows")
    assert one.files == (path,), "the others are sealed: the cell was finished with them"


def test_submissions_are_kept(tmp_path: Path) -> None:
    directory = run(tmp_path, models=BOTH).directory
    store = RunDirectory(directory)
    cell = next(one.cell for one in store.read_cells() if one.role == "suite" and one.model.id == "mnist_pgd")
    examples = read_examples(store.example_parts(cell)[0])
    points = examples.images if len(examples.images) else np.zeros((1, 1, 28, 28), np.float32)
    ids = examples.sample_ids or (store.read_samples(cell)["sample_id"].iloc[0],)
    np.savez(tmp_path / "mine.npz", x_adv=points, sample_ids=np.array(ids))
    submit(
        directory, tmp_path / "mine.npz", "Ann", Wanted(model="mnist_pgd", defense="none"), places=PLACES, device="cpu"
    )
    mine = store.read_run().cells[-1]
    run(tmp_path, models=ONE)
    found = find(store)
    assert found.submissions == (mine,)
    remove(store, found.orphans)
    run(tmp_path, models=BOTH)
    assert store.read_run().cells[-1] == mine


def test_what_a_killed_merge_left(directory: Path) -> None:
    store = RunDirectory(directory)
    place = stage(store)
    (place / "cells").mkdir(parents=True)
    (place / "cells" / "x.json").write_text("{}")
    orphans = find(store).orphans
    (left,) = (one for one in orphans if one.kind == "half-joined run")
    with RunDirectory(place).locked():
        assert not [one for one in find(store).orphans if one.kind == "half-joined run"]
    remove(store, [left])
    assert not (place / "cells").exists()
    merged = merge_runs([directory], directory.with_name("joined"))
    assert merged.count("done") == len(merged.cells)
    assert find(RunDirectory(merged.directory)).orphans == ()


def test_a_run_that_is_being_written_is_left_alone(directory: Path) -> None:
    store = RunDirectory(directory)
    orphans = find(store).orphans
    before = contents(directory)
    with RunDirectory(directory).locked(), pytest.raises(StoreError, match=r"another bench process \(pid \d+\)"):
        remove(store, orphans)
    assert contents(directory) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: (run / "run.json").write_text("{"),
        lambda run: next((run / "cells").glob("mnist_standard-*.json")).write_text("{"),
    ],
)
def test_what_is_needed_must_be_known(directory: Path, damage: Callable[[Path], object]) -> None:
    damage(directory)
    with pytest.raises(StoreError, match="damaged"):
        find(RunDirectory(directory))


def test_which_runs(directory: Path, tmp_path: Path) -> None:
    shutil.copytree(directory, directory.with_name("other"))
    shutil.copytree(directory, directory.with_name(".hidden"))
    for path in (tmp_path / "results", tmp_path / "results" / "small"):
        assert [run.path for run in runs_in(path)] == [directory, directory.with_name("other")]
    assert [run.path for run in runs_in(directory)] == [directory]
    with pytest.raises(StoreError, match="no run here"):
        runs_in(tmp_path / "nowhere")
