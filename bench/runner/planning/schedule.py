"""When each shard would be evaluated: the driver's order and the executor's choice, on devices that only count time."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.runner.corruption_run import corrupted_shards
from bench.runner.executors.base import Queue
from bench.runner.executors.choice import choose, hand_out
from bench.runner.order import Order
from bench.runner.passes import most_passes
from bench.runner.planning.work import Work
from bench.runner.shards import AnyShard, Shard

Seconds = Callable[[AnyShard, str], float]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How it went.

    Attributes:
        makespan: seconds from the first shard to the end of the last.
        cells: by the ids of cells, the seconds that devices spent on their shards.
        loading: seconds that devices spent on loading models.
        last: id of the cell that ended last; empty where there was nothing to do.
        longest: seconds of its longest shard.
    """

    makespan: float
    cells: Mapping[str, float]
    loading: float
    last: str
    longest: float

    @property
    def seconds(self) -> float:
        """Of all devices on all shards and models."""
        return sum(self.cells.values()) + self.loading


@dataclass(slots=True, eq=False)
class _Device:
    """A worker without a device."""

    kind: str
    model: str = ""
    loaded: str = ""
    warm: set[str] = field(default_factory=set)
    jobs: deque[AnyShard] = field(default_factory=deque)
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """What shards take on a kind of device, in seconds.

    Attributes:
        seconds: of a shard itself.
        load: of loading its model.
        warm: that the first shard of a row takes more on a device that has loaded the model.
    """

    seconds: Seconds
    load: Seconds = lambda shard, kind: 0.0
    warm: Seconds = lambda shard, kind: 0.0


def simulate(work: Work, kinds: Sequence[str], timing: Timing) -> Schedule:
    """Runs the work on devices that only count time.

    One device takes the cells one after the other, as ``--executor local`` does; several get shards as the workers of
    ``--executor ray`` do.

    Args:
        work: what is to be done.
        kinds: of each device its kind, one at least.
        timing: what shards take.
    """
    return _Simulation(work, kinds, timing).run()


class _Simulation:
    def __init__(self, work: Work, kinds: Sequence[str], timing: Timing) -> None:
        self.work, self.timing = work, timing
        self.devices = [_Device(kind) for kind in kinds]
        self.ahead = 1.0 if len(kinds) == 1 else math.inf
        self.order, self.queue = Order(work.plan), Queue(lambda shard: shard)
        self.left: dict[str, tuple[int, int]] = {}
        """by the ids of opened cells, their place and how many shards are left"""
        self.clock, self.loading, self.last, self.longest = 0.0, 0.0, "", dict[str, float]()
        self.spent: dict[str, float] = {}
        self.ends: list[tuple[float, int]] = []

    def run(self) -> Schedule:
        """Attack cells first, corruption cells when all of these are there."""
        self._open_more()
        self._until_empty()
        for row in self.work.plan.corrupted.rows:
            for one in row:
                shards = corrupted_shards(self.work.plan, one, self.work.corrupted.get(one.id, ()))
                self.queue.add(shards, float(sum(len(shard.members) for shard in shards)))
            if self.ahead == 1:
                self._until_empty()
        self._until_empty()
        return Schedule(self.clock, self.spent, self.loading, self.last, self.longest.get(self.last, 0.0))

    def _open_more(self) -> None:
        self.order.open_more(self.queue, self.ahead, self._open)

    def _open(self, place: int) -> None:
        planned = self.work.plan.cells[place]
        shards = [] if planned.id in self.left else self.work.shards.get(planned.id, ())
        if not shards:
            self._close(place)
            return
        self.left[planned.id] = (place, len(shards))
        samples = sum(len(shard.members) for shard in shards)
        cost = math.inf if self.ahead == 1 else most_passes(planned.cell, self.work.plan.dataset.num_classes, samples)
        self.queue.add(shards, cost)

    def _close(self, place: int) -> None:
        self.order.finished(place)
        self._open_more()

    def _until_empty(self) -> None:
        while True:
            hand_out(self.devices, self.queue, self._give)
            for number, device in enumerate(self.devices):
                if device.jobs and not device.busy:
                    self._begin(number, device)
            if not self.ends:
                return
            self.clock, number = heapq.heappop(self.ends)
            self._ended(self.devices[number])

    def _give(self, device: _Device) -> None:
        one = len(self.devices) == 1
        if one and device.jobs:  # a local executor has nothing waiting
            return
        shard = self.queue.take() if one else self.queue.take(lambda lots: choose(lots, device, self.devices))
        if shard is not None:
            device.model = shard.cell.model.id
            device.jobs.append(shard)

    def _begin(self, number: int, device: _Device) -> None:
        shard = device.jobs[0]
        took, loading = self.timing.seconds(shard, device.kind), 0.0
        if device.loaded != shard.cell.model.id:
            loading, device.loaded = self.timing.load(shard, device.kind), shard.cell.model.id
            device.warm.clear()
        row = f"{shard.cell.defense_id} {shard.cell.norm}"
        if row not in device.warm:
            took += self.timing.warm(shard, device.kind)
            device.warm.add(row)
        self.loading += loading
        self.spent[shard.cell_id] = self.spent.get(shard.cell_id, 0.0) + took
        self.longest[shard.cell_id] = max(self.longest.get(shard.cell_id, 0.0), took)
        device.busy = True
        heapq.heappush(self.ends, (self.clock + loading + took, number))

    def _ended(self, device: _Device) -> None:
        shard = device.jobs.popleft()
        device.busy, self.last = False, shard.cell_id
        if isinstance(shard, Shard):
            place, left = self.left[shard.cell_id]
            self.left[shard.cell_id] = (place, left - 1)
            if left == 1:
                self._close(place)
