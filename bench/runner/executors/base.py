"""What an executor is, and the queue of shards that it takes its work from."""

from __future__ import annotations

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

    def __len__(self) -> int:
        return sum(len(lot.shards) for lot in self._lots.values())

    def __bool__(self) -> bool:
        return bool(self._lots)

    @property
    def lots(self) -> Iterable[Lot]:
        """The cells that have shards waiting, in the order in which they came."""
        return self._lots.values()

    def add(self, shards: Iterable[AnyShard], cost: float = math.inf) -> None:
        """Lets the shards of a cell wait.

        Args:
            shards: of one cell.
            cost: what they take together, in passes.
        """
        for shard in shards:
            lot = self._lots.setdefault(shard.cell_id, Lot(shard.cell.model.id, cost))
            lot.shards.append(shard)

    def drop(self, cell_id: str) -> None:
        """Forgets the shards of a cell that has failed."""
        self._lots.pop(cell_id, None)

    def take(self, choose: Callable[[Iterable[Lot]], Lot] = lambda lots: next(iter(lots))) -> AnyShard | None:
        """The next shard; ``None`` where none is left.

        Args:
            choose: which cell comes next; the first by default.
        """
        while self._lots:
            lot = choose(self._lots.values())
            shard = lot.shards.popleft()
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
