"""Disks that are full, read-only or forbidden, and files that are damaged: nothing saved is lost, nothing is made up."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bench import leaderboard, plots
from bench.errors import SchemaError, StoreError, WriteError
from bench.runner.executors import attempt as attempt_module
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store import atomic
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

NOBODY = 65534
CELLS = 4
"""fgsm on the bare and on the defended model, its examples for the oblivious adversary, and that adversary."""


SUITE = """
name: small
dataset: {name: mnist, samples: 12}
threat_models: [{norm: linf, eps: 0.2}]
models: [zoo:mnist_standard]
attacks: [fgsm]
defenses: [none, bit_depth]
run: {shard_size: 4, gradient_free_queries: 0}
"""
"""Its cells write every kind of file."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    """The suite on a disk without faults; not to be changed."""
    path = tmp_path_factory.mktemp("whole") / "small.yaml"
    path.write_text(SUITE)
    return run(path, path.parent / "results")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The suite's file."""
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture
def done(whole: RunSummary, tmp_path: Path) -> Path:
    """The finished run once more, to be damaged: ``results/small/default``."""
    return Path(shutil.copytree(whole.directory, tmp_path / "results" / "small" / "default"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A disk of its own, ``disk("size=200k")``; called again, the same one with other options."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        more = ["-o", ("remount," if mounted else "") + options]
        found = subprocess.run(["mount", "-t", "tmpfs", *more, "tmpfs", str(place)], capture_output=True, text=True)
        if found.returncode:
            pytest.skip(f"this user can't mount a disk: {found.stderr.strip()}")
        mounted = True
        return place

    if shutil.which("mount") is None:
        pytest.skip("no mount command")
    yield mount
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


def run(path: Path, results: Path, *overrides: str) -> RunSummary:
    settings = RunSettings(results, device="cpu", places=Places(download=False))
    return run_suite(load_suite(path, overrides=overrides), settings)


def rows(directory: Path) -> pd.DataFrame:
    return pd.read_parquet(directory / "samples").sort_values(["cell", "position"], ignore_index=True)


def parts(directory: Path) -> dict[str, bytes]:
    """The finished shards."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.glob("samples/*/*.parquet")}


def assert_same(found: RunSummary, expected: RunSummary) -> None:
    pd.testing.assert_frame_equal(rows(found.directory), rows(expected.directory), check_exact=True)
    assert [one.status for one in found.results] == ["done"] * CELLS
    assert [one.metrics for one in found.results] == [one.metrics for one in expected.results]
    for one in found.results:
        examples, others = (RunDirectory(end.directory).read_examples(one.cell) for end in (found, expected))
        assert examples.sample_ids == others.sample_ids
        assert (examples.images == others.images).all()
    assert not list(found.directory.rglob(".*.tmp"))


def fill_up(path: Path) -> None:
    """Leaves no page of the disk free."""
    with path.open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))


# -- full disks --------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_full_at_any_write(
    small: Path, whole: RunSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th file doesn't fit, whatever it is; with space again, the run ends as if nothing had been."""
    fill, written = atomic._fill, 0

    def counted(path: Path, content: bytes) -> None:
        nonlocal written
        written += 1
        if written == limit:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        fill(path, content)

    monkeypatch.setattr(atomic, "_fill", counted)
    limit = 0
    run(small, tmp_path / "counted")
    total = written
    assert total > CELLS * 3 + CELLS
    middle = random.Random(0).sample(range(4, total - 2), 9)
    for limit in (1, 2, 3, *middle, total - 1, total):
        written = 0
        results = tmp_path / f"full-{limit}"
        with pytest.raises(WriteError, match="no space left on the device; free some and run the same command again"):
            run(small, results)
        saved = parts(results / "small" / "default")
        assert not list(results.rglob(".*.tmp"))
        again = run(small, results)
        assert_same(again, whole)
        now = parts(again.directory)
        assert {name: now[name] for name in saved} == saved


@pytest.mark.parametrize("size", [8, 60, 120])
def test_a_small_disk(small: Path, whole: RunSummary, disk: Callable[[str], Path], size: int) -> None:
    place = disk(f"size={size}k")
    with pytest.raises(WriteError, match="no space left on the device"):
        run(small, place)
    saved = parts(place / "small" / "default")
    disk("size=50m")
    again = run(small, place)
    now = parts(again.directory)
    assert {name: now[name] for name in saved} == saved
    assert_same(again, whole)


def test_a_small_disk_from_the_command_line(small: Path, disk: Callable[[str], Path]) -> None:
    place = disk("size=60k")
    command = ["run", str(small), "--results", str(place), "--device", "cpu", "--offline"]
    found = subprocess.run([sys.executable, "-m", "bench", *command], capture_output=True, text=True, timeout=300)
    assert found.returncode == 5
    assert found.stderr.splitlines()[-1].startswith(f"bench: {place}")
    assert "no space left on the device; free some and run the same command again" in found.stderr
    assert "Traceback" not in found.stderr


def test_files_that_may_not_grow(small: Path, tmp_path: Path) -> None:
    """A limit on the size of a file, as a quota sets one: the kernel itself refuses."""
    code = (
        "import resource, sys\n"
        "from bench.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))\n"
        "main()\n"
    )
    command = ["run", str(small), "--results", str(tmp_path / "limited"), "--device", "cpu", "--offline"]
    found = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=300)
    assert found.returncode == 5, found.stderr
    assert "can't write" in found.stderr
    assert "too large" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("writer", [leaderboard.write, plots.write])
def test_no_space_for_tables_and_plots(
    small: Path, disk: Callable[[str], Path], writer: Callable[[RunDirectory], list[Path]]
) -> None:
    """The records are saved already; the tables that were there before stay whole."""
    place = disk("size=50m")
    directory = RunDirectory(run(small, place).directory)
    files = {path: path.read_bytes() for path in writer(directory)}
    assert len(files) >= 4
    fill_up(place / "filler")
    with pytest.raises(WriteError, match="no space left on the device"):
        writer(directory)
    assert {path: path.read_bytes() for path in files} == files
    assert not list(directory.path.rglob(".*.tmp"))
    (place / "filler").unlink()
    assert {path: path.read_bytes() for path in writer(directory)} == files


# -- places that can't be written --------------------------------------------------------------------------------------


def test_a_read_only_disk(small: Path, whole: RunSummary, disk: Callable[[str], Path]) -> None:
    place = disk("size=50m")
    partly = run(small, place, "dataset.samples=4")
    saved = parts(partly.directory)
    disk("ro")
    for results in (place, place / "new"):
        with pytest.raises(WriteError, match="the file system is read-only; choose another place with --results"):
            run(small, results)
    assert parts(partly.directory) == saved
    for writer in (leaderboard.write, plots.write):
        with pytest.raises(WriteError, match="read-only"):
            writer(RunDirectory(partly.directory))
    disk("rw")
    assert_same(run(small, place), whole)


def test_a_disk_that_turns_read_only_within_a_run(
    small: Path, whole: RunSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a failing disk does: nothing can be written or removed any more."""

    def refused(*words: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    count, real = 0, attempt_module.evaluate
    with monkeypatch.context() as patched:

        def failing(*words: object) -> object:
            nonlocal count
            count += 1
            if count == 5:
                for name in ("replace", "unlink", "mkdir"):
                    patched.setattr(os, name, refused)
            return real(*words)  # type: ignore[arg-type]

        patched.setattr(attempt_module, "evaluate", failing)
        with pytest.raises(WriteError, match="read-only"):
            run(small, tmp_path / "results")
    saved = parts(tmp_path / "results" / "small" / "default")
    assert len(saved) == 4
    again = run(small, tmp_path / "results")
    assert {name: parts(again.directory)[name] for name in saved} == saved
    assert_same(again, whole)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions bind nobody; root is let through by all of them."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("place", ["locked/results", "locked", "locked/results/small/default"])
def test_a_place_without_permission(small: Path, whole: RunSummary, tmp_path: Path, place: str) -> None:
    opened = [tmp_path, *(path for path in tmp_path.parents if path.name.startswith(("pytest-", "popen-")))]
    before = {path: path.stat().st_mode for path in opened}
    (tmp_path / place).mkdir(parents=True)
    results = tmp_path / "locked" / "results"
    for path in (tmp_path / "locked", *(tmp_path / "locked").rglob("*")):
        path.chmod(0o555)
    try:
        for path in before:
            path.chmod(0o755)
        with unprivileged(), pytest.raises(WriteError, match="no permission to write there; choose another place"):
            run(small, results)
    finally:
        for path, mode in before.items():
            path.chmod(mode)
        for path in (tmp_path / "locked", *(tmp_path / "locked").rglob("*")):
            path.chmod(0o755)


@pytest.mark.parametrize("place", ["results", "results/small", "results/small/default"])
def test_a_file_where_a_directory_should_be(small: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("not a directory")
    with pytest.raises(WriteError, match="can't write"):
        run(small, tmp_path / "results")
    assert (tmp_path / place).read_text() == "not a directory"


@pytest.mark.parametrize("kind", ["samples", "cells", "adversarial"])
def test_a_file_where_a_directory_of_the_run_should_be(small: Path, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "results" / "small" / "default"
    place.mkdir(parents=True)
    (place / kind).write_text("not a directory")
    with pytest.raises(WriteError, match="can't write"):
        run(small, tmp_path / "results")


# -- damaged files -----------------------------------------------------------------------------------------------------

DAMAGE = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "other": lambda content: b"<html>404 not found</html>",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["run.json", "cells", "clean.safetensors"])
def test_damaged_records_are_made_again(
    small: Path, whole: RunSummary, done: Path, tmp_path: Path, name: str, damage: str
) -> None:
    """Nothing that they say is lost with them: the rows are still there."""
    path = done / name
    path = sorted(path.iterdir())[0] if path.is_dir() else path
    saved = parts(done)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    again = run(small, tmp_path / "results")
    assert_same(again, whole)
    assert parts(again.directory) == saved
    leaderboard.write(RunDirectory(again.directory))


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_rows_are_an_error_until_they_are_deleted(
    small: Path, whole: RunSummary, done: Path, tmp_path: Path, damage: str
) -> None:
    part = sorted((done / "samples" / whole.results[0].cell).iterdir())[1]
    part.write_bytes(DAMAGE[damage](part.read_bytes()))
    second = run(small, tmp_path / "results")
    assert [result.status for result in second.results].count("error") == 1
    assert str(part) in second.results[0].reason
    assert "delete this file to compute its samples again" in second.results[0].reason
    assert second.results[0].metrics == {}
    part.unlink()
    assert_same(run(small, tmp_path / "results"), whole)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_examples_are_an_error_of_what_reads_them(
    small: Path, whole: RunSummary, done: Path, tmp_path: Path, damage: str
) -> None:
    cell = next(result.cell for result in whole.results if result.role == "prerequisite")
    part = sorted((done / "adversarial" / cell).iterdir())[2]
    part.write_bytes(DAMAGE[damage](part.read_bytes()))
    second = run(small, tmp_path / "results")
    found = {result.role: result for result in second.results}
    assert found["prerequisite"].status == "error"
    assert str(part) in found["prerequisite"].reason
    rows_path = done / "samples" / cell / part.with_suffix(".parquet").name
    part.unlink()
    rows_path.unlink()
    assert_same(run(small, tmp_path / "results"), whole)


def test_a_part_that_was_copied_from_another_cell_is_no_part(
    small: Path, whole: RunSummary, done: Path, tmp_path: Path
) -> None:
    """A slip with cp: the rows of one cell under the name of another would be a number of the wrong cell."""
    one, other = (done / "samples" / result.cell for result in whole.results[:2])
    shutil.copy(sorted(one.iterdir())[0], sorted(other.iterdir())[0])
    second = run(small, tmp_path / "results")
    assert [result.status for result in second.results] == ["done", "error", "done", "done"]
    assert "rows of another cell" in second.results[1].reason
    assert second.results[1].metrics == {}


@pytest.mark.parametrize("name", ["run.json", "cells", "samples"])
def test_a_run_of_a_newer_bench_is_left_alone(
    small: Path, whole: RunSummary, done: Path, tmp_path: Path, name: str
) -> None:
    path = done / name
    while path.is_dir():
        path = sorted(path.iterdir())[0]
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2, "new": True}))
    else:
        table = pq.ParquetFile(path).read()
        metadata = json.loads(table.schema.metadata[b"bench"])
        changed = json.dumps({**metadata, "schema_version": 2}).encode()
        pq.write_table(table.replace_schema_metadata({b"bench": changed}), path)
    files = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    with pytest.raises(SchemaError, match=r"written by a newer bench \(schema 2, this one reads 1\)") as found:
        run(small, tmp_path / "results")
    assert str(path) in str(found.value)
    del files[done / ".lock"]
    assert {path: path.read_bytes() for path in files} == files


def test_what_a_killed_run_left_half_written_is_cleared(
    small: Path, whole: RunSummary, done: Path, tmp_path: Path
) -> None:
    half = done / "samples" / whole.results[0].cell / ".part-00000.parquet.4242.tmp"
    half.write_bytes(b"half")
    run(small, tmp_path / "results")
    assert not half.exists()


def test_a_lock_of_a_dead_process_is_no_lock(small: Path, done: Path, tmp_path: Path) -> None:
    (done / ".lock").write_text("4242")
    assert run(small, tmp_path / "results").count("done") == CELLS
    with RunDirectory(done).locked(), pytest.raises(StoreError, match=f"pid {os.getpid()}"):
        run(small, tmp_path / "results")
