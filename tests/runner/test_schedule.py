"""The simulated schedule of a plan: bounds that no schedule can beat, and the order in which runs really go."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.runner.events import Silent
from bench.runner.executors.base import Lot, Queue
from bench.runner.executors.choice import choose
from bench.runner.options import ClusterSettings, RunSettings
from bench.runner.planning.schedule import Timing, simulate
from bench.runner.planning.work import Work, pending_work
from bench.runner.preflight import preflight
from bench.runner.run import run_suite
from bench.runner.shards import AnyShard, Shard, ShardOutcome
from bench.store.parts import Examples, ShardReport
from bench.store.records import SampleRecord
from bench.store.run_directory import RunDirectory
from bench.suites.cells import Cell
from bench.suites.expand import Makers
from bench.suites.load import load_suite
from bench.suites.places import Places

SUITE = """
name: scheduled
dataset: {name: mnist, samples: 10}
threat_models: [{norm: linf, eps: [0.2, 0.1]}]
models: [zoo:mnist_standard, zoo:mnist_pgd]
attacks: [fgsm, {name: pgd, steps: 3}]
defenses: [none, bit_depth]
run: {shard_size: 4, gradient_free_queries: 5}
corruptions: {kinds: [gaussian_noise]}
"""
PLACES = Places(download=False)
times = st.lists(st.floats(0.01, 100.0), min_size=7, max_size=7)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("imagecorruptions", reason="the extra corruptions isn't installed")
    path = tmp_path_factory.mktemp("suite") / "scheduled.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def work(path: Path) -> Work:
    return pending_work(preflight(load_suite(path), PLACES), RunDirectory(path.parent / "nothing"))


def spread(some: list[float]) -> Callable[[AnyShard, str], float]:
    """Times that differ between shards and kinds of devices."""
    return lambda shard, kind: (
        some[(sum(shard.cell_id.encode()) + shard.index) % len(some)] * (2 if kind == "slow" else 1)
    )


def all_shards(work: Work) -> list[AnyShard]:
    found: list[AnyShard] = []
    simulate(work, ["fast"], Timing(lambda shard, kind: found.append(shard) or 1.0))
    return found


def test_every_shard_is_scheduled_once(work: Work) -> None:
    shards = all_shards(work)
    keys = [(shard.cell_id, shard.index) for shard in shards]
    assert len(set(keys)) == len(keys)
    ids = {one.id for one in work.plan.every}
    assert sum(len(shard.members) for shard in shards) == 10 * len(ids)
    assert {shard.cell_id for shard in shards} == ids


@settings(max_examples=25, deadline=None)
@given(times, st.integers(1, 9), st.booleans(), st.floats(0, 10))
def test_no_schedule_beats_its_bounds(work: Work, some: list[float], count: int, mixed: bool, load: float) -> None:
    kinds = ["slow" if mixed and number % 2 else "fast" for number in range(count)]
    took: list[float] = []

    def seconds(shard: AnyShard, kind: str) -> float:
        took.append(spread(some)(shard, kind))
        return took[-1]

    found = simulate(work, kinds, Timing(seconds, lambda shard, kind: load))
    assert found.seconds == pytest.approx(sum(took) + found.loading)
    assert found.makespan >= found.seconds / count * (1 - 1e-9)
    assert found.makespan >= max(took)
    if count == 1:
        assert found.makespan == pytest.approx(found.seconds)


def test_a_model_is_loaded_when_it_changes_and_every_row_on_it_warms_up(work: Work) -> None:
    loads, warmed, shards = 0, 0, all_shards(work)
    model, warm = "", set[str]()
    for shard in shards:
        if shard.cell.model.id != model:
            loads, model, warm = loads + 1, shard.cell.model.id, set()
        warmed += shard.cell.defense_id not in warm
        warm.add(shard.cell.defense_id)
    found = simulate(work, ["fast"], Timing(lambda *_: 1.0, lambda *_: 100.0, lambda *_: 10_000.0))
    assert (loads, warmed) == (4, 8), "both models attacked, then corrupted; with and without the defense"
    assert found.makespan == len(shards) + 100 * loads + 10_000 * warmed


@settings(max_examples=25, deadline=None)
@given(times)
def test_plenty_of_devices_wait_for_the_longest_chain_alone(work: Work, some: list[float]) -> None:
    """Cells that read others' examples wait for these; corruptions come last."""
    seconds, shards = spread(some), all_shards(work)
    longest = {
        one.id: max(seconds(shard, "") for shard in shards if shard.cell_id == one.id) for one in work.plan.every
    }
    cells = [one.cell for one in work.plan.cells]
    made = {id(one.cell): one.id for one in work.plan.cells}
    ends: dict[str, float] = {}

    def end(cell: Cell, cell_id: str, before: list[str]) -> None:
        ends[cell_id] = longest[cell_id] + max((ends[one] for one in before), default=0.0)

    waiting, makers = list(work.plan.cells), Makers(cells)
    while waiting:
        for one in list(waiting):
            before = [one.smaller.id] if one.smaller else []
            before += [made[id(makers.of(one.cell))]] if one.cell.transferred else []
            if all(other in ends for other in before):
                end(one.cell, one.id, before)
                waiting.remove(one)
    whole = max(ends.values()) + max(longest[one.id] for one in work.plan.corrupted.cells)
    found = simulate(work, ["fast"] * len(shards), Timing(seconds))
    assert found.makespan == pytest.approx(whole)


class Hand(NamedTuple):
    """A worker that holds a model."""

    model: str
    jobs: tuple[AnyShard, ...] = ()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 5.0, 9.0, 10.0, 70.0, math.inf]))),
    st.lists(st.sampled_from("abc"), min_size=1),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_the_cheapest_cell_of_each_model_is_enough_to_choose_from(
    work: Work, cells: list[tuple[str, float]], held: list[str], dropped: list[int]
) -> None:
    """What is taken is what would be chosen of all that wait."""
    like = next(iter(work.shards.values()))[0]
    waiting: dict[str, Lot] = {}
    queue = Queue(lambda shard: shard)
    for number, (model, cost) in enumerate(cells):
        cell = replace(like.cell, model=like.cell.model.model_copy(update={"id": model}))
        queue.add([replace(like, cell=cell, cell_id=str(number))], cost)
        waiting[str(number)] = Lot(model, cost)
    for number in dropped:
        queue.drop(str(number))
        waiting.pop(str(number), None)
    crew = [Hand(model) for model in held]
    while waiting:
        assert len(queue) == len(waiting)
        expected = choose(waiting.values(), crew[0], crew)
        taken = queue.take(lambda lots: choose(lots, crew[0], crew))
        assert taken is not None
        lot = waiting.pop(taken.cell_id)
        assert (lot.model == held[0], lot.cost) == (expected.model == held[0], expected.cost)
    assert queue.take() is None


class Order(Silent):
    """The cells of a run as they start."""

    def __init__(self) -> None:
        self.labels: list[str] = []

    def cell_started(self, cell: Cell, number: int, pending: int) -> None:
        self.labels.append(cell.label)


def test_one_device_goes_as_a_local_run_does(path: Path, work: Work, tmp_path: Path) -> None:
    order = Order()
    fewer = load_suite(path, overrides=["dataset.samples=2", "corruptions=null"])
    run_suite(fewer, RunSettings(tmp_path, device="cpu", places=PLACES), order)
    labels = {one.id: one.cell.label for one in work.plan.cells}
    simulated = dict.fromkeys(labels[shard.cell_id] for shard in all_shards(work) if shard.cell_id in labels)
    assert list(simulated) == order.labels


@pytest.mark.slow
def test_workers_of_ray_take_what_was_scheduled(path: Path, tmp_path: Path) -> None:
    """A sleep in the place of the devices; Ray, the driver and the records are real."""
    pytest.importorskip("ray", reason="the extra ray isn't installed")
    from bench.runner.driver import Driver
    from bench.runner.executors.cluster import Cluster
    from bench.runner.executors.ray import RayExecutor

    own = RunSettings(tmp_path, device="cpu", places=PLACES, cluster=ClusterSettings(workers=3))
    plan = preflight(load_suite(path, overrides=["dataset.samples=24", "corruptions=null"]), PLACES)
    directory = RunDirectory(own.directory("scheduled"))
    asleep = spread([0.3, 0.6, 0.9, 1.2, 1.5])
    expected = simulate(pending_work(plan, directory), ["fast"] * 3, Timing(asleep))
    rows = [(plan.dataset.sample_ids[one], plan.dataset.sample_digest(one)) for one in range(24)]
    seconds = {(shard.cell_id, shard.index): asleep(shard, "") for shard in all_shards(pending_work(plan, directory))}
    executor = RayExecutor(
        Cluster(own.cluster, 3),
        sleeper(seconds, rows),
        own.cluster,
        gpu=False,
        note=print,
        show=lambda lines: None,
        environment={},
    )
    try:
        executor.wait(3)
        started = time.monotonic()
        with directory.locked():
            results, _ = Driver(plan, directory, executor, own, Silent(), {}).all_cells()
        taken = time.monotonic() - started
    finally:
        executor.close()
    assert {result.status for result in results} == {"done"}
    assert 0.95 * expected.makespan < taken < 1.25 * expected.makespan + 5


def sleeper(seconds: dict[tuple[str, int], float], rows: list[tuple[str, str]]) -> Any:
    """Luggage that opens to an evaluator that sleeps; made here, so that it travels by value."""

    class Sleeper:
        device = "a sleep"

        def unfit(self) -> str:
            return ""

        def open(self, get: object) -> Sleeper:
            return self

        def __call__(self, shard: Shard, report: object) -> ShardOutcome:
            took = seconds[shard.cell_id, shard.index]
            time.sleep(took)
            records = [
                SampleRecord(
                    shard.cell_id, member, *rows[member], 0, 0, True, 0, False, True,
                    0.2, 1.0, 0.2, 5.0, 4.0, 0.9, 0.8, 10, 11.0, 10.0, False, "",
                    correctness=1.0, clean_correctness=1.0, even_correctness=1.0, odd_correctness=1.0,
                )
                for member in shard.members
            ]  # fmt: skip
            cost = ShardReport(samples=len(records), seconds=took, device=self.device, batch_size=1)
            examples = Examples(
                tuple(rows[member][0] for member in shard.members), np.zeros((len(records), 1, 28, 28), np.float32)
            )
            return ShardOutcome(records, cost, examples)

    return Sleeper()
