"""Clusters of several nodes on this machine, as separate Ray processes on loopback addresses of their own.

Each node lives in a mount namespace in which the suite's directory is empty, so that it has neither weights nor plugins.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from ray_workers import workers

from bench.models import zoo
from bench.runner.events import Silent
from bench.runner.options import ClusterSettings, RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

pytest.importorskip("ray", reason="the extra ray isn't installed")
pytestmark = pytest.mark.slow
RAY = str(Path(sys.executable).with_name("ray"))

SUITE = """
name: nodes
dataset: {{name: mnist, samples: 48}}
threat_models: [{{norm: linf, eps: [0.25, 0.15]}}]
models:
  - {{id: mine, source: checkpoint, architecture: {architecture}, weights: mine.safetensors}}
  - zoo:mnist_pgd
attacks: [mine, {{name: pgd, steps: 10}}]
defenses: [none, bit_depth]
run: {{shard_size: 8, gradient_free_queries: 20}}
plugins: [mine.py]
"""
PLUGIN = """
from bench.attacks.pgd import PGD
from bench.attacks.parameters import PGDParams

class Mine(PGD):
    Params = PGDParams
    norms = ("linf",)
    kind = "white-box"

ATTACKS = {"mine": Mine}
"""
VOLATILE = {"provenance", "cost"}
HIDDEN = "import os, sys; os.system(f'mount -t tmpfs none {sys.argv[1]}'); os.execvp(sys.argv[2], sys.argv[2:])"
"""Puts an empty directory over one, and becomes the command that follows."""
PATIENCE = 400


def may_hide() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


class Nodes:
    """Ray processes on 127.0.0.2 (a head without workers), 127.0.0.3 and so on."""

    def __init__(self, hidden: Path, scratch: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.2", 0))
            port = free.getsockname()[1]
        self.address, self.hidden, self.scratch = f"127.0.0.2:{port}", hidden, scratch
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self.env = {**os.environ, **token, "RAY_USAGE_STATS_ENABLED": "0"}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.last = 1
        self._start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false")
        until = time.monotonic() + PATIENCE
        while subprocess.run(
            [RAY, "health-check", f"--address={self.address}"], capture_output=True, env=self.env
        ).returncode:
            assert self.processes["127.0.0.2"].poll() is None, "the head ended"
            assert time.monotonic() < until, "the head doesn't answer"

    def join(self) -> str:
        return self._start(f"--address={self.address}", "--num-cpus=2")

    def leave(self, host: str) -> None:
        process = self.processes.pop(host)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for host in reversed(list(self.processes)):
            self.leave(host)

    def _start(self, *words: str) -> str:
        self.last += 1
        host = f"127.0.0.{self.last}"
        here = self.scratch / host
        (here / "tmp").mkdir(parents=True)
        command = [RAY, "start", "--block", f"--node-ip-address={host}", *words]
        self.processes[host] = subprocess.Popen(
            ["unshare", "-m", sys.executable, "-c", HIDDEN, str(self.hidden), *command],
            cwd=here,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**self.env, "TMPDIR": str(here / "tmp")},
        )
        return host


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    shutil.copy(Path(zoo.__file__).parent / "mnist_standard.safetensors", folder / "mine.safetensors")
    (folder / "mine.py").write_text(PLUGIN)
    (folder / "nodes.yaml").write_text(SUITE.format(architecture="mnist_cnn"))
    return folder / "nodes.yaml"


def settings(results: Path, executor: str) -> RunSettings:
    cluster = ClusterSettings(workers=2, cpus_per_worker=torch.get_num_threads())
    places = Places(download=False, allow_plugins=True)
    return RunSettings(results, executor, "cpu", 16, places, pin_batch=True, executor=executor, cluster=cluster)


@pytest.fixture(scope="module")
def local(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    return run_suite(load_suite(suite), settings(tmp_path_factory.mktemp("local"), "local"))


@pytest.fixture
def nodes(suite: Path) -> Iterator[Nodes]:
    if not may_hide():
        pytest.skip("needs the right to make mount namespaces")
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as scratch:  # paths of sockets are short
        started = Nodes(suite.parent, Path(scratch))
        yield started
        started.close()


class Events(Silent):
    """Does something when so many shards are saved."""

    def __init__(self, plan: dict[int, object]) -> None:
        self.plan, self.shards, self.samples = plan, 0, 0
        self.notes: list[str] = []

    def shard_done(self, samples: int, robust: int) -> None:
        self.shards, self.samples = self.shards + 1, self.samples + samples
        what = self.plan.get(self.shards)
        if what is not None:
            threading.Thread(target=what).start()  # type: ignore[arg-type]

    def note(self, text: str) -> None:
        self.notes.append(text)


def frame(directory: Path) -> pd.DataFrame:
    rows = pd.read_parquet(directory / "samples")
    return rows.sort_values(["cell", "position"], ignore_index=True)


def assert_same(found: Path, expected: Path) -> None:
    pd.testing.assert_frame_equal(frame(found), frame(expected), check_exact=True)
    one, other = RunDirectory(found), RunDirectory(expected)
    for here, there in zip(one.read_cells(), other.read_cells(), strict=True):
        assert here.status == "done"
        assert here.model_dump(exclude=VOLATILE) == there.model_dump(exclude=VOLATILE)


def test_nodes_without_files_join_and_leave(suite: Path, local: RunSummary, nodes: Nodes, tmp_path: Path) -> None:
    """What they need travels to them; one leaves within the run, and another joins."""
    first = nodes.join()
    driver = start([*command(suite, tmp_path), "--address", nodes.address], nodes.env)
    directory, until = tmp_path / "nodes" / "default", time.monotonic() + PATIENCE
    for shards, what in ((5, nodes.join), (40, lambda: nodes.leave(first))):
        while len(list(directory.glob("samples/*/*.parquet"))) < shards:
            assert driver.poll() is None, driver.communicate()[1]
            assert time.monotonic() < until, "no shard is saved"
            time.sleep(0.05)
        what()
    err = driver.communicate(timeout=PATIENCE)[1]
    assert driver.returncode == 0, err
    assert "left the cluster" in err or "ended" in err
    assert_same(directory, local.directory)


KILLED = ("worker", "driver", "node", "driver of nodes")
SHARDS = 140
"""About as many as the suite has."""


@pytest.mark.parametrize("seed", range(int(os.environ.get("BENCH_KILLS", "4"))))
def test_killed_at_random(
    suite: Path, local: RunSummary, tmp_path: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """No record is lost or doubled, whoever dies at whatever moment: they take turns, and the seed draws the moments."""
    draw, killed = random.Random(seed), KILLED[seed % len(KILLED)]
    if killed == "worker":
        _kill_workers(suite, tmp_path, draw)
    elif killed == "driver":
        _kill_drivers([*command(suite, tmp_path), "--workers", "2"], dict(os.environ), tmp_path, draw)
    else:
        nodes: Nodes = request.getfixturevalue("nodes")
        hosts = [nodes.join(), nodes.join()]
        words = [*command(suite, tmp_path), "--address", nodes.address]
        if killed == "node":
            _kill_nodes(words, nodes, hosts, tmp_path, draw)
        else:
            _kill_drivers(words, nodes.env, tmp_path, draw)
    (found,) = (tmp_path / "nodes").iterdir()
    assert_same(found, local.directory)


def _kill_workers(suite: Path, results: Path, draw: random.Random) -> None:
    """Two workers of a cluster of this machine die."""

    def kill() -> None:
        time.sleep(draw.uniform(0, 0.3))
        there = workers(os.getpid())
        if there:
            os.kill(draw.choice(there), signal.SIGKILL)

    events = Events({draw.randrange(1, 100): kill, draw.randrange(100, 150): kill})
    found = run_suite(load_suite(suite), settings(results, "ray"), events)
    assert events.samples == 48 * len(found.results)


def _kill_drivers(words: list[str], env: dict[str, str], results: Path, draw: random.Random) -> None:
    """Two drivers die one after the other, and a third goes on to the end."""
    for shards in sorted(draw.sample(range(SHARDS), 2)):
        driver = start(words, env)
        if wait_for(driver, shards, results, draw):
            driver.kill()
        said = driver.communicate(timeout=PATIENCE)[1]
        assert driver.returncode in (0, -signal.SIGKILL), said
    driver = start(words, env)
    said = driver.communicate(timeout=PATIENCE)[1]
    assert driver.returncode == 0, said


def _kill_nodes(words: list[str], nodes: Nodes, hosts: list[str], results: Path, draw: random.Random) -> None:
    """Two nodes die, and others take their places."""
    driver = start(words, nodes.env)
    for shards in sorted(draw.sample(range(SHARDS), 2)):
        if wait_for(driver, shards, results, draw):
            nodes.leave(hosts.pop(draw.randrange(len(hosts))))
            hosts.append(nodes.join())
    said = driver.communicate(timeout=PATIENCE)[1]
    assert driver.returncode == 0, said


def command(suite: Path, results: Path) -> list[str]:
    """As :func:`settings`, on the command line."""
    words = [
        "run",
        str(suite),
        "--results",
        str(results),
        "--device",
        "cpu",
        "--offline",
        "--allow-plugins",
        "--no-audit",
    ]
    words += ["--batch-size", "16", "--pin-batch", "--executor", "ray"]
    return [sys.executable, "-m", "bench", *words, "--cpus-per-worker", str(torch.get_num_threads())]


def start(words: list[str], env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)


def wait_for(driver: subprocess.Popen[str], shards: int, results: Path, draw: random.Random) -> bool:
    """Whether the driver still runs a moment after so many shards are saved."""
    until = time.monotonic() + PATIENCE
    while (saved := len(list(results.glob("nodes/default/samples/*/*.parquet")))) < shards and driver.poll() is None:
        if time.monotonic() > until:
            driver.kill()
            pytest.fail(f"{saved} of {shards} shards are saved: {driver.communicate()[1]}")
        time.sleep(0.02)
    time.sleep(draw.uniform(0, 0.3))
    return driver.poll() is None
