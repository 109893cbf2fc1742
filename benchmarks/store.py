"""What it takes to list, resume, compare and report runs of many cells and samples.

    python benchmarks/store.py [--cells 200] [--samples 1000] [--shard 1000]
    python benchmarks/store.py --cells 5000 --samples 10000      # 50 million rows: an hour, gigabytes under $TMPDIR

Makes a run with the real driver and the real writers: only the verdicts are drawn instead of computed, so that no device is
needed. Then it measures the real commands on it, each in a process of its own: seconds of the whole command, start of Python
included, those of a core, and the most memory that it took. Goals: a finished suite of 1,000 cells is recognised in less
than 5 s, and memory doesn't follow the number of rows.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.runner.executors.base import Finished, Queue
from bench.runner.shards import Shard, ShardOutcome
from bench.store.parts import ShardReport
from bench.store.records import SampleRecord

EPS = ("1/255", "2/255", "4/255", "8/255")
ATTACKS = 25
SUITE_FILE = "store.yaml"
SUITE = """
name: store
dataset: {{name: npz, path: images.npz, samples: {samples}}}
threat_models: [{{norm: linf, eps: [{eps}]}}]
models:
{models}
attacks: [{attacks}]
run: {{shard_size: {shard}, save_adversarial: none, reuse: none}}
"""


class Drawn:
    """An executor that draws the verdicts of a shard: four of five images are right when clean, half of those are broken."""

    ahead: float = 1
    environment: dict[str, Any] = {"device": "verdicts that are drawn"}

    def __init__(self, rows: list[tuple[int, str, str, int]]) -> None:
        self.rows, self.generator = rows, np.random.default_rng(0)

    def outcomes(self, queue: Queue) -> Iterator[Finished]:
        """See :class:`bench.runner.executors.base.Executor`."""
        while (shard := queue.take()) is not None:
            assert isinstance(shard, Shard)
            steps = float(shard.cell.attack.args["steps"])
            draws = self.generator.random((3, len(shard.members)))
            records = [
                self.record(shard.cell_id, member, steps, *drawn)
                for member, *drawn in zip(shard.members, *draws.tolist(), strict=True)
            ]
            cost = ShardReport(samples=len(records), seconds=1.0, device="none", batch_size=1)
            yield Finished(shard, ShardOutcome(records, cost, None))

    def record(self, cell: str, member: int, steps: float, luck: float, far: float, spent: float) -> SampleRecord:
        """One row, with all columns that a deterministic classifier has."""
        position, sample, digest, label = self.rows[member]
        correct = member % 5 != 0
        success = correct and luck < 0.5
        robust, other = correct and not success, (label + 1) % 10
        passes = 1.0 + round(spent * steps) if success else 1.0 + steps
        return SampleRecord(
            cell, position, sample, digest, label, label if correct else other, correct, label if robust else other,
            success, robust, 0.01 * far, far, 0.01 * far, 5.0 * far, 1.0 - luck, 0.9, 0.5 + 0.5 * luck, int(passes), passes,
            passes - 1.0, False, "", l1=7.0 * far, clean_correctness=float(correct), correctness=float(robust),
            even_correctness=float(robust), odd_correctness=float(robust),
        )  # fmt: skip

    def close(self) -> None:
        """Holds nothing."""


def make(folder: Path, cells: int, samples: int, shard: int) -> None:
    """Writes a suite and its finished run."""
    from safetensors.numpy import load_file, save_file

    from bench.models import zoo
    from bench.runner.driver import Driver
    from bench.runner.events import Silent
    from bench.runner.options import RunSettings
    from bench.runner.preflight import preflight
    from bench.store.run_directory import RunDirectory
    from bench.suites.load import load_suite

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (samples, 1, 28, 28), dtype=np.uint8)
    np.savez(folder / "images.npz", x=images, y=np.arange(samples) % 10)
    weights = load_file(Path(zoo.__file__).parent / "mnist_standard.safetensors")
    models = max(1, cells // (len(EPS) * ATTACKS))
    for number in range(models):
        scaled = {name: value * np.float32(1 + number / 1000) for name, value in weights.items()}
        save_file(scaled, folder / f"model-{number}.safetensors")
    listed = "\n".join(
        f"  - {{id: model-{number}, source: checkpoint, architecture: mnist_cnn, weights: model-{number}.safetensors}}"
        for number in range(models)
    )
    attacks = ", ".join(f"{{id: pgd-{steps}, name: pgd, steps: {steps}}}" for steps in range(2, 2 + ATTACKS))
    path = folder / SUITE_FILE
    path.write_text(
        SUITE.format(samples=samples, eps=", ".join(EPS), models=listed, attacks=attacks, shard=shard), encoding="utf-8"
    )
    settings = RunSettings(folder / "results", device="cpu")
    plan = preflight(load_suite(path), settings.places)
    data = plan.dataset
    rows = [
        (int(data.positions[one]), data.sample_ids[one], data.sample_digest(one), int(data.labels[one]))
        for one in range(len(data))
    ]
    directory = RunDirectory(settings.directory("store"))
    executor = Drawn(rows)
    with directory.locked():
        Driver(plan, directory, executor, settings, Silent(), executor.environment).all_cells()


def measured(name: str, folder: Path, *words: str) -> None:
    """Runs a command of ``bench`` and prints its seconds and its peak memory."""
    started = time.perf_counter()
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *words], cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    busy = usage.ru_utime + usage.ru_stime
    print(f"{name:<40} {seconds:7.1f} s, {busy:6.1f} s of a core, {usage.ru_maxrss / 1024:6.0f} MiB", flush=True)
    if status:
        print((folder / "output").read_text(errors="replace")[-2000:])


def main() -> None:
    """Makes the run, and measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--shard", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="make the run in this directory, and leave it there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        if not (folder / SUITE_FILE).exists():
            # in a process of its own: what this one takes would count as its children's
            wanted = (folder, arguments.cells, arguments.samples, arguments.shard)
            maker = multiprocessing.get_context("spawn").Process(target=make, args=wanted)
            maker.start()
            maker.join()
            if maker.exitcode:
                sys.exit(maker.exitcode)
            print(f"made in {time.perf_counter() - started:.0f} s", flush=True)
        run, other = Path("results/store/default"), Path("results/store/other")
        files = sum(path.is_file() for path in (folder / run / "samples").rglob("*"))
        size = sum(path.stat().st_size for path in (folder / run).rglob("*") if path.is_file())
        print(f"{arguments.cells} cells of {arguments.samples} samples: {files} parts, {size / 1e6:.0f} MB", flush=True)
        if not (folder / other).exists():
            subprocess.run(["cp", "-al", str(folder / run), str(folder / other)], check=True)
        here = ("--device", "cpu", "--data-dir", ".")
        measured("bench --help", folder, "--help")
        measured("bench plan (what is done)", folder, "plan", SUITE_FILE, *here)
        measured("bench run, finished, tables not made yet", folder, "run", SUITE_FILE, *here, "--no-audit")
        measured("bench run, finished", folder, "run", SUITE_FILE, *here, "--no-audit")
        measured("bench compare", folder, "compare", str(run), str(other))
        measured("bench report", folder, "report", str(run))


if __name__ == "__main__":
    main()
