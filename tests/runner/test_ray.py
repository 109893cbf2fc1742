"""Runs on several workers: real Ray, real records, and workers and drivers that are really killed."""

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
from ray_workers import workers

from bench.errors import BenchError
from bench.registry import ALL
from bench.runner.events import Silent
from bench.runner.options import ClusterSettings, RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

pytest.importorskip("ray", reason="the extra ray isn't installed")

SUITE = """
name: spread
dataset: {name: mnist, samples: 24}
threat_models: [{norm: linf, eps: [0.25, 0.15]}]
models: [zoo:mnist_standard, zoo:mnist_pgd]
attacks:
  - {name: pgd, steps: 10, restarts: 2}
  - {id: foolbox, name: pgd, backend: foolbox, steps: 5}
defenses: [none, bit_depth]
exclude: [{threat_model: "linf:0.25", defense: bit_depth}]
run: {shard_size: 6, gradient_free_queries: 20}
"""
VOLATILE = {"provenance", "cost"}
PATIENCE = 200


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.samples = 0

    def note(self, text: str) -> None:
        self.said.append(text)

    def shard_done(self, samples: int, robust: int) -> None:
        self.samples += samples


def settings(results: Path, executor: str, **cluster: object) -> RunSettings:
    threads = torch.get_num_threads()
    return RunSettings(
        results,
        executor,
        "cpu",
        16,
        Places(download=False, allow_plugins=True),
        pin_batch=True,
        executor=executor,
        cluster=ClusterSettings(cpus_per_worker=threads, **{"workers": 2, **cluster}),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "spread.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def local(suite: Path) -> RunSummary:
    """The same suite on one device, in this process."""
    return run_suite(load_suite(suite), settings(suite.parent / "results", "local"))


def frame(directory: Path) -> pd.DataFrame:
    rows = pd.read_parquet(directory / "samples")
    return rows.sort_values(["cell", "position"], ignore_index=True)


def assert_same(found: Path, expected: Path) -> None:
    """Every row once, every metric, flag and saved image."""
    pd.testing.assert_frame_equal(frame(found), frame(expected), check_exact=True)
    one, other = RunDirectory(found), RunDirectory(expected)
    for here, there in zip(one.read_cells(), other.read_cells(), strict=True):
        assert here.status == "done"
        assert here.model_dump(exclude=VOLATILE) == there.model_dump(exclude=VOLATILE)
        assert here.cost is not None
        assert there.cost is not None
        assert (here.cost.forwards, here.cost.backwards) == (there.cost.forwards, there.cost.backwards)
        examples, others = one.read_examples(here.cell), other.read_examples(there.cell)
        assert examples.sample_ids == others.sample_ids
        assert (examples.images == others.images).all()


class Kills(Notes):
    """Kills a worker of this process when so many shards are saved."""

    def __init__(self, draw: random.Random, after: int) -> None:
        super().__init__()
        self.draw, self.after = draw, after

    def shard_done(self, samples: int, robust: int) -> None:
        super().shard_done(samples, robust)
        self.after -= 1
        if self.after == 0:
            os.kill(self.draw.choice(workers(os.getpid())), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_worker_costs_its_shard_and_no_record(suite: Path, local: RunSummary, tmp_path: Path) -> None:
    kills = Kills(random.Random(0), after=5)
    found = run_suite(load_suite(suite), settings(tmp_path, "ray"), kills)
    assert kills.after < 0
    assert any("ended" in text for text in kills.said)
    assert kills.samples == 24 * len(found.results)
    assert_same(found.directory, local.directory)


PLUGIN = """
import os, time
import torch
from bench.attacks.base import Attack, AttackResult
from pydantic import BaseModel

class Params(BaseModel):
    pass

class Dies(Attack):
    Params = Params
    norms = ("linf",)
    kind = "white-box"
    def __init__(self, params):
        pass
    def run(self, target, samples, context):
        os._exit(7)

class Hangs(Dies):
    def run(self, target, samples, context):
        time.sleep(1000)

ATTACKS = {"dies": Dies, "hangs": Hangs}
"""


@pytest.fixture
def deadly(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "deadly.py").write_text(PLUGIN)
    path = tmp_path / "deadly.yaml"
    path.write_text(
        "name: deadly\ndataset: {name: mnist, samples: 8}\nthreat_models: [{norm: linf, eps: 0.2}]\n"
        "models: [zoo:mnist_standard]\nattacks: [fgsm, dies, hangs]\nrun: {shard_size: 4}\nplugins: [deadly.py]\n"
    )
    yield path
    for table in ALL.values():
        table.remove(str(tmp_path / "deadly.py"))


@pytest.mark.slow
def test_a_shard_that_kills_three_workers_is_an_error_cell(deadly: Path, tmp_path: Path) -> None:
    found = run_suite(load_suite(deadly), settings(tmp_path, "ray", shard_timeout=6.0, workers=4))
    status = {result.attack_id: result.status for result in found.results}
    assert status == {"fgsm": "done", "dies": "error", "hangs": "error"}
    reasons = {result.attack_id: result.reason for result in found.results}
    assert reasons["dies"].startswith("3 workers ended on one shard, the last one: ")
    assert "the shard took longer than 6 s (--shard-timeout)" in reasons["hangs"]
    assert all(result.metrics == {} for result in found.results if result.status == "error")


@pytest.mark.slow
def test_a_killed_driver_goes_on_and_leaves_no_worker_behind(suite: Path, local: RunSummary, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "run", str(suite), "--results", str(tmp_path), "--device", "cpu"]
    command += ["--offline", "--executor", "ray", "--workers", "2", "--batch-size", "16", "--pin-batch", "--no-audit"]
    command += ["--cpus-per-worker", str(torch.get_num_threads())]
    directory = tmp_path / "spread" / "default"
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + PATIENCE
    while len(list(directory.glob("samples/*/*.parquet"))) < 7 and first.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    orphans = workers(first.pid)
    assert orphans
    first.kill()
    first.communicate()
    until = time.monotonic() + 30
    while any(alive(pid) for pid in orphans):
        assert time.monotonic() < until, "workers outlive their driver"
        time.sleep(0.1)
    again = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert again.returncode == 0, again.stderr
    assert "raylet" not in again.stderr
    assert_same(directory, local.directory)


def alive(pid: int) -> bool:
    """Whether a process runs: one that is dead and not yet collected doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_address_without_a_cluster_is_refused(suite: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"--address 127\.0\.0\.1:1: no Ray cluster"):
        run_suite(load_suite(suite), settings(tmp_path, "ray", address="127.0.0.1:1"))


def test_ray_that_is_missing_says_what_to_install(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchError, match=r"robustness-bench\[ray\]"):
        run_suite(load_suite(suite), settings(tmp_path, "ray"))
