"""What a remote worker does with shards. No torch here: a simulated device needs none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from bench.attacks.listener import Listener
from bench.runner.shards import AnyOutcome, AnyShard, Failure

Get = Callable[[Any], Any]  # Any: a reference in an object store, and what it stands for


class Evaluator(Protocol):
    """Keeps what it has loaded between shards."""

    @property
    def device(self) -> str:
        """For people."""
        ...

    def __call__(self, shard: AnyShard, report: Listener) -> AnyOutcome | Failure:
        """Evaluates a shard.

        Args:
            shard: what to evaluate.
            report: called with (samples finished, samples still robust or right) now and then.
        """
        ...


class Opened(NamedTuple):
    """What a worker says of itself once it has unpacked."""

    host: str
    pid: int
    device: str
    unfit: str = ""
    """why its node can't be used; empty where it can"""


class Luggage(Protocol):
    """What travels to a node once: data and weights."""

    def unfit(self) -> str:
        """Why this node would give other records than the driver's; empty where it wouldn't."""
        ...

    def open(self, get: Get) -> Evaluator:
        """Unpacks on the node.

        Args:
            get: gets what a reference stands for.
        """
        ...
