"""What goes wrong around a run: workers that freeze or run out of memory, a full disk under Ray, a clock that jumps.

All of it is real: stopped processes, limits that the kernel keeps, a small disk, a clock that another library shifts.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
import torch
from ray_workers import workers

from bench.errors import BenchError
from bench.registry import ALL
from bench.runner.events import Silent
from bench.runner.executors.cluster import Cluster
from bench.runner.options import ClusterSettings, RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

SUITE = """
name: faults
dataset: {name: mnist, samples: 24}
threat_models: [{norm: linf, eps: 0.2}]
models: [zoo:mnist_standard, zoo:mnist_pgd]
attacks: [fgsm, {name: pgd, steps: 10}]
run: {shard_size: 6}
"""
CELLS = 4
PATIENCE = 300


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("suite") / "faults.yaml"
    path.write_text(SUITE)
    return path


def settings(results: Path, executor: str, **cluster: object) -> RunSettings:
    how = ClusterSettings(cpus_per_worker=torch.get_num_threads(), **{"workers": 2, **cluster})  # type: ignore[arg-type]
    places = Places(download=False, allow_plugins=True)
    return RunSettings(results, executor, "cpu", 16, places, pin_batch=True, executor=executor, cluster=how)


@pytest.fixture(scope="module")
def local(suite: Path) -> RunSummary:
    return run_suite(load_suite(suite), settings(suite.parent / "results", "local"))


def assert_same(found: Path, expected: Path) -> None:
    frames = [
        pd.read_parquet(one / "samples").sort_values(["cell", "position"], ignore_index=True)
        for one in (found, expected)
    ]
    pd.testing.assert_frame_equal(*frames, check_exact=True)
    here, there = (RunDirectory(one).read_cells() for one in (found, expected))
    assert [one.status for one in here] == ["done"] * CELLS
    assert [one.metrics for one in here] == [one.metrics for one in there]


class Notes(Silent):
    """Does something, once, when so many shards are saved."""

    def __init__(self, after: int = 0, what: Callable[[], None] = lambda: None) -> None:
        self.said: list[str] = []
        self.shards, self.after, self.what = 0, after, what

    def note(self, text: str) -> None:
        self.said.append(text)

    def shard_done(self, samples: int, robust: int) -> None:
        self.shards += 1
        if self.shards == self.after:
            self.what()


# -- workers -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "seen"),
    [({"shard_timeout": 15.0}, "--shard-timeout"), ({"heartbeat": 15.0}, "no sign of life for 15 s")],
)
def test_a_frozen_worker_is_noticed_and_left_behind(
    suite: Path, local: RunSummary, tmp_path: Path, limits: dict[str, float], seen: str
) -> None:
    pytest.importorskip("ray", reason="the extra ray isn't installed")
    stopped: list[int] = []

    def freeze() -> None:
        stopped.append(random.Random(0).choice(workers(os.getpid())))
        os.kill(stopped[0], signal.SIGSTOP)

    notes = Notes(2, freeze)
    found = run_suite(load_suite(suite), settings(tmp_path, "ray", **limits), notes)
    assert stopped
    assert any(seen in text for text in notes.said), notes.said
    assert_same(found.directory, local.directory)
    until = time.monotonic() + 30
    while Path(f"/proc/{stopped[0]}").exists():
        assert time.monotonic() < until, "the frozen worker outlives the run"
        time.sleep(0.1)


@pytest.mark.parametrize("late", [1, 3])
def test_ray_that_starts_too_slowly_is_started_again(monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    """Its own words of a busy machine; a start that slow can't be had at will."""
    ray = pytest.importorskip("ray", reason="the extra ray isn't installed")
    starts: list[dict[str, object]] = []

    def init(**how: object) -> None:
        starts.append(how)
        if len(starts) <= late:
            raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr(ray, "init", init)
    if late < 3:
        Cluster(ClusterSettings(), 1)
        assert len(starts) == late + 1
    else:
        with pytest.raises(BenchError, match="--executor ray: no Ray cluster: The current node timed out"):
            Cluster(ClusterSettings(), 1)
        assert len(starts) == 3
    starts.clear()
    with pytest.raises(BenchError, match="--address auto: no Ray cluster"):
        Cluster(ClusterSettings(address="auto"), 1)
    assert len(starts) == 1


PLUGIN = """
import os, resource, signal
from pathlib import Path
import torch
from bench.attacks.base import Attack, AttackResult
from pydantic import BaseModel

class Params(BaseModel):
    times: int = 1

class Greedy(Attack):
    '''Wants more memory than the process may have, so often in all.'''
    Params = Params
    norms = ("linf",)
    kind = "white-box"
    def __init__(self, params):
        self.times = params.times
    def run(self, target, samples, context):
        for number in range(self.times):
            try:
                Path(__file__).with_name(f"{number} of {self.times}").touch(exist_ok=False)
            except FileExistsError:
                continue
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
            self.take()
        return AttackResult.untouched(samples)
    def take(self):
        torch.zeros(2**30, dtype=torch.float64)

class Killed(Greedy):
    '''As the kernel ends what takes too much.'''
    def take(self):
        os.kill(os.getpid(), signal.SIGKILL)

ATTACKS = {"greedy": Greedy, "killed": Killed}
"""


@pytest.fixture
def greedy(tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """Writes a suite whose attack takes its worker along so often."""
    (tmp_path / "greedy.py").write_text(PLUGIN)

    def write(name: str, times: int) -> Path:
        path = tmp_path / f"times-{times}.yaml"
        path.write_text(
            f"name: times-{times}\ndataset: {{name: mnist, samples: 8}}\nthreat_models: [{{norm: linf, eps: 0.2}}]\n"
            f"models: [zoo:mnist_standard]\nattacks: [fgsm, {{id: greedy, name: {name}, times: {times}}}]\n"
            "run: {shard_size: 8}\nplugins: [greedy.py]\n"
        )
        return path

    yield write
    for table in ALL.values():
        table.remove(str(tmp_path / "greedy.py"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seen"), [("greedy", "can't allocate memory"), ("killed", "connection error code")])
def test_a_worker_without_memory_loses_its_shard_and_a_shard_that_never_fits_is_an_error(
    greedy: Callable[[str, int], Path], tmp_path: Path, name: str, seen: str
) -> None:
    pytest.importorskip("ray", reason="the extra ray isn't installed")
    for times, status in ((1, "done"), (9, "error")):
        notes = Notes()
        found = run_suite(load_suite(greedy(name, times)), settings(tmp_path, "ray"), notes)
        assert any("ended" in text for text in notes.said), notes.said
        assert [result.status for result in found.results] == ["done", status]
    failed = found.results[1]
    assert failed.reason.startswith("3 workers ended on one shard")
    assert seen in failed.reason
    assert failed.metrics == {}


# -- a full disk -------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 80 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user can't mount a disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_a_driver_of_many_workers(suite: Path, local: RunSummary, disk: Path) -> None:
    """Its workers end with it, what was saved stays, and with space again the same command goes on."""
    pytest.importorskip("ray", reason="the extra ray isn't installed")
    command = [sys.executable, "-m", "bench", "run", str(suite), "--results", str(disk), "--device", "cpu", "--offline"]
    command += ["--executor", "ray", "--workers", "2", "--batch-size", "16", "--pin-batch", "--no-audit"]
    command += ["--cpus-per-worker", str(torch.get_num_threads())]
    stopped = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert stopped.returncode == 5, stopped.stderr
    assert "no space left on the device; free some and run the same command again" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    directory = disk / "faults" / "default"
    saved = {path: path.read_bytes() for path in directory.glob("samples/*/*.parquet")}
    assert saved
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    again = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert again.returncode == 0, again.stderr
    assert {path: path.read_bytes() for path in saved} == saved
    assert_same(directory, local.directory)


# -- a clock that jumps ------------------------------------------------------------------------------------------------

CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) { return access(getenv("JUMPED"), F_OK) ? 0 : atol(getenv("JUMP")); }
int clock_gettime(clockid_t id, struct timespec *to) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int found = real(id, to);
    if (!found && id == CLOCK_REALTIME) to->tv_sec += shift();
    return found;
}
int gettimeofday(struct timeval *restrict to, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    to->tv_sec = now.tv_sec;
    to->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
"""
"""Shifts the time of the day by $JUMP seconds as soon as the file $JUMPED is there."""


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    made = ["-shared", "-fPIC", "-o", str(folder / "clock.so"), str(folder / "clock.c"), "-ldl"]
    if subprocess.run([compiler, *made], capture_output=True).returncode:
        pytest.skip("the C compiler makes no library")
    return folder / "clock.so"


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_jumps_within_a_run(
    suite: Path, local: RunSummary, clock: Path, tmp_path: Path, executor: str, jump: int
) -> None:
    """The run goes on, no duration follows the clock, and the same command resumes."""
    jumped, directory = tmp_path / "jumped", tmp_path / "results" / "faults" / "default"
    command = [sys.executable, "-m", "bench", "run", str(suite), "--results", str(tmp_path / "results"), "--offline"]
    command += ["--device", "cpu", "--batch-size", "16", "--pin-batch", "--no-audit", "--executor", executor]
    if executor == "ray":
        pytest.importorskip("ray", reason="the extra ray isn't installed")
        command += ["--workers", "2", "--cpus-per-worker", str(torch.get_num_threads()), "--shard-timeout", "600"]
    env = {**os.environ, "LD_PRELOAD": str(clock), "JUMP": str(jump), "JUMPED": str(jumped)}
    env["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    started = datetime.now().astimezone()
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=env)
    until = time.monotonic() + PATIENCE
    while not list(directory.glob("samples/*/*.parquet")) and run.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    jumped.touch()
    _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, err
    assert "ended" not in err
    assert_same(directory, local.directory)
    record = json.loads((directory / "run.json").read_text())
    away = (datetime.fromisoformat(record["finished"]) - started).total_seconds()
    assert abs(away - jump) < PATIENCE, "the clock didn't jump"
    for result in RunDirectory(directory).read_cells():
        assert result.cost is not None
        assert 0 <= result.cost.seconds < PATIENCE
    jumped.unlink()
    again = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=env)
    assert again.returncode == 0, again.stderr
    assert f"{CELLS} cells, {CELLS} done already; 0 sample evaluations ahead" in again.stderr
