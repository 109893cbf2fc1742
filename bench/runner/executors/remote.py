"""The Ray actor: one worker, which keeps what it has loaded between shards."""

from __future__ import annotations

import os
import socket
from typing import Any, NamedTuple

import ray

from bench.runner.executors.evaluator import Evaluator, Luggage, Opened
from bench.runner.shards import AnyOutcome, AnyShard, Failure

BEAT = "beat"
"""The threads that answer :meth:`Remote.beat` while a shard is evaluated in another."""


class Beat(NamedTuple):
    """A sign of life: samples of the present shard that are finished, those still robust or right, and what is at work."""

    finished: int
    robust: int
    stage: str = ""


class Remote:
    """A worker on a node."""

    def __init__(self) -> None:
        self._evaluator: Evaluator | None = None
        self._beat = Beat(0, 0)

    def open(self, luggage: Luggage) -> Opened:
        """Unpacks, unless this node isn't fit for it."""
        unfit = luggage.unfit()
        if not unfit:
            self._evaluator = luggage.open(ray.get)
        device = self._evaluator.device if self._evaluator is not None else ""
        return Opened(socket.gethostname(), os.getpid(), device, unfit)

    def evaluate(self, shard: AnyShard) -> AnyOutcome | Failure:
        """Evaluates one shard."""
        assert self._evaluator is not None
        self._beat = Beat(0, 0)
        return self._evaluator(shard, self._report)

    def beat(self) -> Beat:
        """Answers whatever the other thread does, unless the process hangs."""
        return self._beat

    def _report(self, finished: int, robust: int, stage: str = "") -> None:
        self._beat = Beat(finished, robust, stage)


def actor(node: str, *, cpus: float, gpus: float) -> Any:  # Any: Ray's handle
    """Starts a worker.

    Args:
        node: Ray's id of the node that it runs on.
        cpus: cores that it takes.
        gpus: share of a GPU that it takes.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return _Actor.options(
        num_cpus=cpus,
        num_gpus=gpus,
        max_restarts=0,
        max_task_retries=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    ).remote()


setattr(Remote, "beat", ray.method(concurrency_group=BEAT)(Remote.beat))  # noqa: B010 (as a decorator it has no type)
_Actor = ray.remote(concurrency_groups={BEAT: 1})(Remote)
