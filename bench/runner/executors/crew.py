"""The driver's view of its workers, and what happened to shards that took their workers with them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.runner.shards import AnyShard

DEATHS = 3
"""So many workers may end on one shard; then it is a failure."""
LOSSES = 10
"""So often a shard may be lost with a whole node, which is nobody's fault but might be."""
BACKOFF = 1.0
"""Seconds until a shard is tried again; twice as many each time."""


@dataclass(slots=True)
class Job:
    """A shard that was given to a worker, and Ray's reference to what becomes of it."""

    shard: AnyShard
    ref: Any  # Any: Ray's


@dataclass(slots=True, eq=False)
class Member:
    """One worker as the driver sees it; all times are of the driver's monotonic clock.

    Attributes:
        actor: Ray's handle.
        node: Ray's id of its node.
        host: of the node.
        opening: reference to what it says of itself; ``None`` once it has said so.
        pid: of its process; 0 until it is known.
        device: for people.
        model: id of the model that it holds; empty for none.
        jobs: its shards, the first of which it evaluates.
        since: when it began with that.
        heard: when it last gave a sign of life.
        asked: reference to the sign of life that it is asked for.
        finished: samples of its shard that are done.
        stage: the part of an ensemble that is at work on it.
        done: shards that it has finished.
    """

    actor: Any  # Any: Ray's
    node: str
    host: str
    opening: Any  # Any: Ray's
    pid: int = 0
    device: str = ""
    model: str = ""
    jobs: deque[Job] = field(default_factory=deque)
    since: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    asked: Any = None  # Any: Ray's
    finished: int = 0
    stage: str = ""
    done: int = 0

    def begins(self) -> None:
        """With the first of its shards."""
        self.since, self.finished, self.stage = time.monotonic(), 0, ""


class WorkerLine(NamedTuple):
    """A worker in the table for people."""

    place: str
    """host and process"""
    device: str
    state: str
    """what it evaluates, or ``starting`` or ``idle``"""
    finished: int
    samples: int
    seconds: float
    """since it began with that"""
    done: int
    """shards so far"""


def line(member: Member) -> WorkerLine:
    """How a worker looks in the table."""
    place = f"{member.host}:{member.pid}" if member.pid else member.host
    seconds = time.monotonic() - member.since
    if member.opening is not None:
        return WorkerLine(place, "", "starting", 0, 0, seconds, 0)
    if not member.jobs:
        return WorkerLine(place, member.device, "idle", 0, 0, seconds, member.done)
    shard = member.jobs[0].shard
    state = " ".join(filter(None, (f"{shard.cell.label} [{shard.index}]", member.stage)))
    return WorkerLine(place, member.device, state, member.finished, len(shard.members), seconds, member.done)


@dataclass(slots=True)
class Trial:
    """What happened to a shard so far.

    Attributes:
        deaths: workers that ended on it.
        losses: nodes that left with it.
        avoid: nodes on which it is tried again only where there is no other.
        after: time of the monotonic clock from which on it may be tried again.
        reasons: why its workers ended.
    """

    deaths: int = 0
    losses: int = 0
    avoid: set[str] = field(default_factory=set)
    after: float = 0.0
    reasons: list[str] = field(default_factory=list)

    def died(self, node: str, reason: str) -> None:
        """A worker ended while it evaluated the shard."""
        self.deaths += 1
        self._again(node, reason)

    def lost(self, node: str, reason: str) -> None:
        """Its node left."""
        self.losses += 1
        self._again(node, reason)

    def _again(self, node: str, reason: str) -> None:
        self.avoid.add(node)
        self.reasons.append(reason)
        self.after = time.monotonic() + BACKOFF * 2 ** (self.deaths + self.losses - 1)

    @property
    def hopeless(self) -> str:
        """Why it isn't tried again; empty where it is."""
        if self.deaths < DEATHS and self.losses < LOSSES:
            return ""
        return f"{self.deaths + self.losses} workers ended on one shard, the last one: {self.reasons[-1]}"
