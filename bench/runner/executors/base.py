"""What an executor is, and the queue of shards that it takes its work from."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from bench.runner.shards import AnyOutcome, AnyShard, Failure


@dataclass(slots=True)
class Lot:
    """The shards of one cell that wait.

    Attributes:
        model: id of the model that they need.
        cost: what the cell's pending samples take, in passes; infinite where nobody knows.
        shards: in their order.
    """

    model: str
    cost: float
    shards: deque[AnyShard] = field(default_factory=deque)


class Queue:
    """The shards that wait to be evaluated.

    Args:
        start: called when a shard is taken: gives it with what it has to read, or ``None`` where its cell has failed.
    """

    def __init__(self, start: Callable[[AnyShard], AnyShard | None]) -> None:
        self._start = start
        self._lots: dict[str, Lot] = {}
        self._by_model: dict[str, list[tuple[float, int, str]]] = {}
        """of each model a heap of its cells by their cost, then in the order in which they came"""
        self._came = self._count = 0

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return bool(self._lots)

    @property
    def cheapest(self) -> list[Lot]:
        """Of each model the cheapest cell that has shards waiting."""
        found = []
        for model, heap in list(self._by_model.items()):
            while heap and heap[0][2] not in self._lots:
                heapq.heappop(heap)
            if heap:
                found.append(self._lots[heap[0][2]])
            else:
                del self._by_model[model]
        return found

    def add(self, shards: Iterable[AnyShard], cost: float = math.inf) -> None:
        """Lets the shards of a cell wait.

        Args:
            shards: of one cell.
            cost: what they take together, in passes.
        """
        for shard in shards:
            if shard.cell_id not in self._lots:
                self._lots[shard.cell_id] = Lot(shard.cell.model.id, cost)
                heap = self._by_model.setdefault(shard.cell.model.id, [])
                heapq.heappush(heap, (cost, self._came, shard.cell_id))
                self._came += 1
            self._lots[shard.cell_id].shards.append(shard)
            self._count += 1

    def drop(self, cell_id: str) -> None:
        """Forgets the shards of a cell that has failed."""
        lot = self._lots.pop(cell_id, None)
        self._count -= 0 if lot is None else len(lot.shards)

    def take(self, choose: Callable[[list[Lot]], Lot] | None = None) -> AnyShard | None:
        """The next shard; ``None`` where none is left.

        Args:
            choose: which cell comes next, of the cheapest of each model; the one that came first by default.
        """
        while self._lots:
            lot = next(iter(self._lots.values())) if choose is None else choose(self.cheapest)
            shard = lot.shards.popleft()
            self._count -= 1
            if not lot.shards:
                del self._lots[shard.cell_id]
            started = self._start(shard)
            if started is not None:
                return started
        return None


class Finished(NamedTuple):
    """A shard and what became of it."""

    shard: AnyShard
    outcome: AnyOutcome | Failure


class Executor(Protocol):
    """Evaluates shards, here or elsewhere; writes nothing.

    Attributes:
        ahead: how many shards it wants to choose from; with one, cells are evaluated one after the other.
    """

    ahead: float

    @property
    def environment(self) -> dict[str, Any]:  # Any: JSON values
        """Versions and devices, for the records."""
        ...

    def outcomes(self, queue: Queue) -> Iterator[Finished]:
        """Evaluates what waits in the queue, which may grow meanwhile, until nothing is left; gives each shard as it ends."""
        ...

    def close(self) -> None:
        """Lets everything go."""
        ...
