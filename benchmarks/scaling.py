"""How well many workers are kept busy, and what Ray costs on one device.

    python benchmarks/scaling.py [--workers 64] [--seconds 5] [--rounds 10]
    python benchmarks/scaling.py --one [--samples 1000]

The first puts a sleep in the place of the device, so that workers need no torch and 64 of them fit on two cores; Ray, the
driver, the records and the store are real. Efficiency is the time that shards sleep over the time that workers are there,
from when all are ready until the last record is saved. The goal is at least 90 % at 64 workers. The second runs a real
suite locally and with one Ray worker of as many threads; the goal is below 5 % more, beside the start of Ray.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.runner.executors.cluster import Cluster
from bench.runner.options import ClusterSettings, RunSettings
from bench.runner.shards import AnyShard, ShardOutcome
from bench.store.parts import ShardReport
from bench.store.records import SampleRecord

SUITE = """
name: scaling
dataset: {{name: mnist, split: {split}, samples: {samples}}}
threat_models: [{{norm: linf, eps: 0.2}}]
models: [zoo:mnist_standard, zoo:mnist_pgd]
attacks: [{attacks}]
run: {{shard_size: {shard}, save_adversarial: none}}
"""


class Sleeping:
    """A device that takes so many seconds for every shard, as luggage and as evaluator."""

    device = "a sleep"

    def __init__(self, seconds: float, rows: list[tuple[int, str, str, int]]) -> None:
        self.seconds, self.rows = seconds, rows

    def unfit(self) -> str:
        """Every node is fit."""
        return ""

    def open(self, get: Callable[[Any], Any]) -> Sleeping:
        """Nothing to unpack."""
        return self

    def __call__(self, shard: AnyShard, report: Callable[[int, int], None]) -> ShardOutcome:
        """Real records after the sleep."""
        until = time.monotonic() + self.seconds
        records = [self.record(shard.cell_id, member) for member in shard.members]
        cost = ShardReport(samples=len(records), seconds=self.seconds, device=self.device, batch_size=1)
        time.sleep(max(until - time.monotonic(), 0.0))
        return ShardOutcome(records, cost, None)

    def record(self, cell: str, member: int) -> SampleRecord:
        """An unbroken sample."""
        position, sample, digest, label = self.rows[member]
        return SampleRecord(
            cell, position, sample, digest, label, label, True, label, False, True,
            0.2, 1.0, 0.2, 5.0, 4.0, 0.9, 0.8, 10, 11.0, 10.0, False, "",
            correctness=1.0, clean_correctness=1.0, even_correctness=1.0, odd_correctness=1.0,
        )  # fmt: skip


def many(workers: int, seconds: float, rounds: int) -> None:
    """Prints the efficiency, and whether every record is there once."""
    import pandas as pd

    from bench.runner.driver import Driver
    from bench.runner.events import Silent
    from bench.runner.executors.ray import RayExecutor
    from bench.runner.preflight import preflight
    from bench.store.run_directory import RunDirectory
    from bench.suites.load import load_suite

    count = -(-rounds * workers // (2 * 40))  # 40 shards a cell, two models
    attacks = ", ".join(f"{{id: a{number}, name: pgd, steps: {number}}}" for number in range(2, 2 + count))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suite.yaml"
        path.write_text(SUITE.format(split="train", samples=4000, shard=100, attacks=attacks))
        settings = RunSettings(Path(folder) / "results", device="cpu")
        plan = preflight(load_suite(path), settings.places)
        rows = [
            (int(plan.dataset.positions[one]), plan.dataset.sample_ids[one], plan.dataset.sample_digest(one), 0)
            for one in range(len(plan.dataset))
        ]
        started = time.perf_counter()
        cluster = Cluster(ClusterSettings(workers=workers), workers)
        executor = RayExecutor(
            cluster,
            Sleeping(seconds, rows),
            ClusterSettings(workers=workers),
            gpu=False,
            note=print,
            show=lambda lines: None,
            environment={},
        )
        try:
            executor.wait(workers)
            ready = time.perf_counter()
            directory = RunDirectory(settings.directory("scaling"))
            with directory.locked():
                Driver(plan, directory, executor, settings, Silent(), {}).all_cells()
            wall = time.perf_counter() - ready
        finally:
            executor.close()
        frame = pd.read_parquet(directory.path / "samples")
        shards = len(plan.cells) * len(plan.dataset) // 100
        once = len(frame) == len(plan.cells) * len(plan.dataset) and not frame.duplicated(["cell", "sample_id"]).any()
        print(
            f"{workers} workers, {shards} shards of {seconds:g} s: {wall:.1f} s, efficiency "
            f"{shards * seconds / (workers * wall):.3f}; ready after {ready - started:.1f} s; "
            f"every record once: {'yes' if once else 'NO'}"
        )


def one(samples: int) -> None:
    """Prints seconds of a real run, locally and with one Ray worker, alternating."""
    import torch

    from bench.runner.events import Silent
    from bench.runner.run import run_suite
    from bench.suites.load import load_suite

    class Clock(Silent):
        """Times from the first shard's end to the last: what is loaded and started is left out of both."""

        def __init__(self) -> None:
            self.ends = list[float]()

        def shard_done(self, samples: int, robust: int) -> None:
            self.ends.append(time.perf_counter())

    cluster = ClusterSettings(workers=1, cpus_per_worker=torch.get_num_threads())
    for _ in range(2):
        for executor in ("local", "ray"):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "suite.yaml"
                path.write_text(SUITE.format(split="test", samples=samples, shard=50, attacks="{name: pgd, steps: 40}"))
                results = Path(folder) / "results"
                settings = RunSettings(results, device="cpu", batch_size=128, executor=executor, cluster=cluster)
                clock, started = Clock(), time.perf_counter()
                run_suite(load_suite(path), settings, clock)
                whole = time.perf_counter() - started
            print(
                f"{executor}: {clock.ends[-1] - clock.ends[0]:.1f} s between the first and the last shard; {whole:.1f} s"
            )


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--one", action="store_true", help="what Ray costs on one device")
    parser.add_argument("--samples", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.samples)
    else:
        many(arguments.workers, arguments.seconds, arguments.rounds)


if __name__ == "__main__":
    main()
