"""Which worker gets which shard. No torch and no Ray: the simulation of a plan decides by it, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Protocol, TypeVar

from bench.runner.executors.base import Lot


class Hands(Protocol):
    """A worker as far as the choice goes."""

    @property
    def jobs(self) -> Sized:
        """Its shards, the first of which it evaluates."""
        ...

    @property
    def model(self) -> str:
        """Id of the model of the last shard that it was given; empty for none."""
        ...


_Hands = TypeVar("_Hands", bound=Hands)


def hand_out(ready: Sequence[_Hands], queue: Sized, give: Callable[[_Hands], None]) -> None:
    """Gives shards to workers: first to those that have none, then one more where there are plenty.

    Args:
        ready: the workers.
        queue: the shards that wait.
        give: gives a worker its next shard, if there is one for it.
    """
    for member in ready:
        if not member.jobs:
            give(member)
    for member in ready:
        if len(member.jobs) == 1 and len(queue) > len(ready):
            give(member)


def choose(lots: Iterable[Lot], member: _Hands, crew: Iterable[_Hands]) -> Lot:
    """The cheapest cells; among these the model that the worker holds, else the one that the fewest others do.

    Args:
        lots: cells that have shards waiting, of each model the cheapest at least.
        member: the worker.
        crew: all workers.
    """
    holders: dict[str, int] = {}
    for other in crew:
        if other is not member:
            holders[other.model] = holders.get(other.model, 0) + 1
    return min(
        lots, key=lambda lot: (_magnitude(lot.cost), lot.model != member.model, holders.get(lot.model, 0), lot.cost)
    )


def _magnitude(cost: float) -> float:
    """Costs of the same power of ten are about the same: a worker doesn't load another model for less."""
    return math.floor(math.log10(cost)) if 0 < cost < math.inf else cost
