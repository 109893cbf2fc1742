"""Runs that are killed for real, at random moments, and started again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

SUITE = """
name: killed
dataset: {name: mnist, samples: 20}
threat_models: [{norm: linf, eps: [0.25, 0.15]}]
models: [zoo:mnist_standard]
attacks:
  - {name: pgd, steps: 10, restarts: 2}
  - {id: foolbox, name: pgd, backend: foolbox, steps: 5}
  - {name: square, n_queries: 30}
defenses: [none, bit_depth]
exclude: [{threat_model: "linf:0.25", defense: bit_depth}]
run: {shard_size: 4, gradient_free_queries: 0}
"""
CELLS, SHARDS = 13, 5
PATIENCE = 300
VOLATILE = {"provenance", "cost"}
"""What differs from run to run: when, and how fast."""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "killed.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def whole(suite: Path) -> RunDirectory:
    """The same suite without an interruption."""
    settings = RunSettings(suite.parent / "whole", device="cpu", places=Places(download=False))
    summary = run_suite(load_suite(suite), settings)
    assert summary.count("done") == len(summary.results) == CELLS
    assert sum(one.cost.reused for one in summary.results if one.cost) > 10, "the larger eps builds on the smaller"
    return RunDirectory(summary.directory)


class Process:
    """``python -m bench run`` as a user starts it; as many threads as the uninterrupted run, for the same last bits."""

    def __init__(self, suite: Path, results: Path, *more: str) -> None:
        command = ["run", str(suite), "--results", str(results), "--device", "cpu", "--offline", *more]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "bench", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "COLUMNS": "120"},
        )
        self.directory = results / "killed" / "default"

    def parts(self) -> list[Path]:
        """The shards that are saved so far."""
        return sorted(self.directory.glob("samples/*/part-*.parquet"))

    def wait_for(self, parts: int) -> bool:
        """Until so many shards are saved; false where the run ends before."""
        until = time.monotonic() + PATIENCE
        while len(self.parts()) < parts and self.child.poll() is None:
            assert time.monotonic() < until, "the run takes for ever"
            time.sleep(0.002)
        return self.child.poll() is None

    def end(self, sent: signal.Signals | None = None) -> tuple[int, str, str]:
        """Sends a signal and waits: exit code, standard output, standard error."""
        if sent is not None:
            self.child.send_signal(sent)
        try:
            out, err = self.child.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            raise
        return self.child.returncode, out, err


@pytest.fixture
def start(suite: Path, tmp_path: Path) -> Iterator[object]:
    started: list[Process] = []

    def begin() -> Process:
        started.append(Process(suite, tmp_path / "results"))
        return started[-1]

    yield begin
    for process in started:
        if process.child.poll() is None:
            process.child.kill()
        process.child.communicate()


def frame(directory: RunDirectory) -> pd.DataFrame:
    rows = pd.read_parquet(directory.path / "samples")
    return rows.sort_values(["cell", "position"], ignore_index=True)


def assert_equal_runs(found: RunDirectory, expected: RunDirectory) -> None:
    """Every column of every row, every metric, stage and flag, every saved image."""
    pd.testing.assert_frame_equal(frame(found), frame(expected), check_exact=True)
    assert len(frame(found)) == CELLS * 20
    for one, other in zip(found.read_cells(), expected.read_cells(), strict=True):
        assert one.model_dump(exclude=VOLATILE) == other.model_dump(exclude=VOLATILE)
        assert one.cost is not None
        assert other.cost is not None
        assert (one.cost.forwards, one.cost.backwards) == (other.cost.forwards, other.cost.backwards)
        examples, others = found.read_examples(one.cell), expected.read_examples(other.cell)
        assert examples.sample_ids == others.sample_ids
        assert (examples.images == others.images).all()
    assert not list(found.path.rglob(".*.tmp"))


def kill_until_done(start: object, whole: RunDirectory, *, kills: int, seed: int) -> None:
    """Kills a run again and again, lets it finish, and compares."""
    draw = random.Random(seed)
    saved: dict[Path, tuple[int, int]] = {}
    process: Process | None = None
    targets = sorted(draw.sample(range(1, CELLS * SHARDS - 2), kills))
    for target in targets:
        process = start()  # type: ignore[operator]
        alive = process.wait_for(max(target, len(saved) + 1))
        time.sleep(draw.uniform(0, 0.08))
        code, _, err = process.end(signal.SIGKILL if alive else None)
        assert code in (-signal.SIGKILL, 0), err
        saved = unchanged(process, saved)
    process = start()  # type: ignore[operator]
    code, out, err = process.end()
    assert code == 0, err
    assert "done already" in err
    assert "mnist_standard" in out
    unchanged(process, saved)
    assert len(process.parts()) == CELLS * SHARDS
    assert_equal_runs(RunDirectory(process.directory), whole)


def unchanged(process: Process, before: dict[Path, tuple[int, int]]) -> dict[Path, tuple[int, int]]:
    """Shards that were finished before are the same files; gives those that are finished now."""
    now = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in process.parts()}
    assert {path: now.get(path) for path in before} == before
    return now


def test_killed_at_random_moments(start: object, whole: RunDirectory) -> None:
    kill_until_done(start, whole, kills=1, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_killed_many_times(start: object, whole: RunDirectory, seed: int) -> None:
    kill_until_done(start, whole, kills=12, seed=seed)


def test_a_polite_kill(start: object, whole: RunDirectory) -> None:
    """SIGTERM, as a cluster's scheduler sends it: exit code 130, how to go on, and the tables of what is finished."""
    process: Process = start()  # type: ignore[operator]
    assert process.wait_for(SHARDS + 2)
    code, out, err = process.end(signal.SIGTERM)
    assert code == 130, err
    assert "run the same command again to resume" in err
    assert str(process.directory) in err
    assert "Traceback" not in err
    assert "missing" in out
    assert "pgd-10" in out
    board = pd.read_csv(process.directory / "leaderboard.csv")
    assert set(board["worst_case_is_bound"]) == {True}
    assert board["rank_low"].isna().all()
    assert (process.directory / "plots" / "robust_accuracy.png").is_file()
    assert RunDirectory(process.directory).read_run().finished is None
    assert 1 <= len(list((process.directory / "cells").glob("*.json"))) < CELLS
    rows = frame(RunDirectory(process.directory))
    expected = frame(whole).merge(rows[["cell", "position"]])
    pd.testing.assert_frame_equal(rows, expected, check_exact=True)


def test_stopped_before_anything_is_evaluated(tmp_path: Path) -> None:
    """A polite kill while the models are still being looked at."""
    (tmp_path / "slow.py").write_text(
        "import sys, time\nprint('here', file=sys.stderr, flush=True)\ntime.sleep(100)\nATTACKS = {}\n"
    )
    path = tmp_path / "killed.yaml"
    path.write_text(SUITE + "plugins: [slow.py]\n")
    process = Process(path, tmp_path / "results", "--allow-plugins")
    assert process.child.stderr is not None
    assert process.child.stderr.readline() == "here\n"
    code, _, err = process.end(signal.SIGTERM)
    assert code == 130, err
    assert "Traceback" not in err
    assert "run the same command again to resume" in err
