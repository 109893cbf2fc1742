"""Workers on all devices of this machine or of a cluster, as Ray actors."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bench.errors import BenchError
from bench.runner.executors.base import Finished, Queue
from bench.runner.executors.choice import choose, hand_out
from bench.runner.executors.cluster import Cluster, Node
from bench.runner.executors.crew import Job, Member, Trial, WorkerLine, line
from bench.runner.executors.evaluator import Luggage, Opened
from bench.runner.options import ClusterSettings
from bench.runner.shards import AnyShard, Failure

TICK = 0.5
"""Seconds after which the driver looks up, though nothing was finished."""
LOOK = 2.0
"""Seconds between two looks at the nodes and at the workers' signs of life."""
STARTS = 3
"""So many workers may end on a node before they are ready; then it isn't used any more."""


class RayExecutor:
    """Evaluates shards on Ray actors.

    Each worker has one shard in its hands, and one more waiting where there are plenty. It gets shards of the model that
    it holds, among cells of about the same cost; cheaper ones come first.

    Args:
        cluster: the connection.
        luggage: what the workers need.
        settings: the user's.
        gpu: whether workers take GPUs; else cores only.
        travel: gives a shard what it must take along.
        note: told of nodes and workers that come to grief.
        show: told how the workers are doing.
        environment: versions and devices, for the records.
    """

    ahead: float = math.inf

    def __init__(
        self,
        cluster: Cluster,
        luggage: Luggage,
        settings: ClusterSettings,
        *,
        gpu: bool,
        note: Callable[[str], None],
        show: Callable[[Sequence[WorkerLine]], None],
        environment: dict[str, Any],  # Any: JSON values
        travel: Callable[[AnyShard], AnyShard] = lambda shard: shard,
    ) -> None:
        self._cluster, self._settings, self._gpu = cluster, settings, gpu
        self._note, self._show, self._travel = note, show, travel
        self.environment = environment
        self._luggage = cluster.put(luggage)
        self._crew: list[Member] = []
        self._trials: dict[tuple[str, int], Trial] = {}
        self._again: list[AnyShard] = []
        self._failed: list[Finished] = []
        self._unfit: dict[str, str] = {}
        self._starts: dict[str, int] = {}
        self._looked = -math.inf

    def outcomes(self, queue: Queue) -> Iterator[Finished]:
        """See :class:`bench.runner.executors.base.Executor`."""
        while queue or self._again or self._failed or any(member.jobs for member in self._crew):
            if time.monotonic() - self._looked > LOOK:
                self._look()
            self._assign(queue)
            yield from self._collect()

    def wait(self, workers: int) -> None:
        """Waits until so many workers are ready; a run needn't, it begins with the first."""
        while sum(member.opening is None for member in self._crew) < workers:
            if time.monotonic() - self._looked > LOOK:
                self._look()
            for _ in self._collect():
                pass

    def close(self) -> None:
        """Ends the workers and the connection."""
        for member in self._crew:
            self._cluster.ray.kill(member.actor, no_restart=True)
        self._crew.clear()
        self._cluster.close()

    # The crew: nodes may join and leave at any time.

    def _look(self) -> None:
        """Starts workers where there is room, and ends those that hang."""
        nodes = self._cluster.nodes()
        there = {node.id for node in nodes}
        for member in [member for member in self._crew if member.node not in there]:
            self._end(member, f"{member.host} left the cluster", lost=True)
        for member in list(self._crew):
            self._listen(member)
        self._grow(nodes)
        self._show([line(member) for member in self._crew])
        self._looked = time.monotonic()

    def _grow(self, nodes: Sequence[Node]) -> None:
        most = math.inf if self._settings.workers is None else self._settings.workers
        usable = [node for node in nodes if node.id not in self._unfit]
        if not usable and self._unfit:
            raise BenchError(f"--executor ray: no node can be used: {'; '.join(self._unfit.values())}")
        room = {node.id: self._room(node) for node in usable}
        for member in self._crew:
            room[member.node] = room.get(member.node, 0) - 1
        while len(self._crew) < most:
            node = max(usable, key=lambda one: room[one.id], default=None)
            if node is None or room[node.id] < 1:
                return
            room[node.id] -= 1
            self._crew.append(self._start(node))

    def _room(self, node: Node) -> int:
        """How many workers a node has room for."""
        cores = int(node.cpus // self._settings.cpus_per_worker)
        return min(cores, int(node.gpus / self._settings.gpus_per_worker + 1e-9)) if self._gpu else cores

    def _start(self, node: Node) -> Member:
        from bench.runner.executors.remote import actor

        gpus = self._settings.gpus_per_worker if self._gpu else 0
        made = actor(node.id, cpus=self._settings.cpus_per_worker, gpus=gpus)
        return Member(made, node.id, node.host, opening=made.open.remote(self._luggage))

    def _listen(self, member: Member) -> None:
        """Asks for a sign of life, and ends a worker that gives none, or whose shard takes too long."""
        now = time.monotonic()
        if member.opening is not None:
            return  # it may wait for room that another job of the cluster has taken
        if member.asked is None:
            member.asked = member.actor.beat.remote()
        elif self._ready([member.asked]):
            try:
                beat = self._cluster.ray.get(member.asked)
                member.finished, member.stage = beat.finished, beat.stage
            except self._cluster.ray.exceptions.RayError as error:
                self._end(member, _why(error))
                return
            member.heard, member.asked = now, member.actor.beat.remote()
        elif now - member.heard > self._settings.heartbeat:
            self._end(member, f"no sign of life for {self._settings.heartbeat:.0f} s")
            return
        if member.jobs and now - member.since > self._settings.shard_timeout:
            self._end(member, f"the shard took longer than {self._settings.shard_timeout:g} s (--shard-timeout)")

    def _end(self, member: Member, reason: str, *, lost: bool = False) -> None:
        """Lets a worker go; what it evaluated is tried elsewhere, and what waited for it, too."""
        self._crew.remove(member)
        self._cluster.ray.kill(member.actor, no_restart=True)
        if member.opening is not None:
            self._starts[member.node] = self._starts.get(member.node, 0) + 1
            self._note(f"a worker on {member.host} ended before it was ready: {reason}")
            if self._starts[member.node] >= STARTS and not lost:
                self._refuse(member, f"{STARTS} workers ended before they were ready")
            return
        self._note(f"worker {member.host}:{member.pid} ended: {reason}")
        for place, job in enumerate(member.jobs):
            if place == 0:
                trial = self._trials.setdefault(_key(job.shard), Trial())
                (trial.lost if lost else trial.died)(member.node, f"{reason} ({member.host})")
                if trial.hopeless:
                    self._failed.append(Finished(job.shard, Failure(trial.hopeless, "\n".join(trial.reasons))))
                    continue
            self._again.append(job.shard)
        self._looked = -math.inf

    def _refuse(self, member: Member, reason: str) -> None:
        if member.node not in self._unfit:
            self._unfit[member.node] = f"{member.host}: {reason}"
            self._note(f"node {member.host} isn't used: {reason}")

    # Work.

    def _assign(self, queue: Queue) -> None:
        """Gives shards to the workers that are there."""
        ready = [member for member in self._crew if member.opening is None]
        hand_out(ready, queue, lambda member: self._give(member, queue))

    def _give(self, member: Member, queue: Queue) -> None:
        shard = self._retried(member) or queue.take(lambda lots: choose(lots, member, self._crew))
        if shard is None:
            return
        if not member.jobs:
            member.begins()
        member.model = shard.cell.model.id
        member.jobs.append(Job(shard, member.actor.evaluate.remote(self._travel(shard))))

    def _retried(self, member: Member) -> AnyShard | None:
        """A shard that is tried again, elsewhere where that can be."""
        now, nodes = time.monotonic(), {other.node for other in self._crew if other.opening is None}
        for shard in self._again:
            trial = self._trials.get(_key(shard), Trial())
            if trial.after <= now and (member.node not in trial.avoid or nodes <= trial.avoid):
                self._again.remove(shard)
                return shard
        return None

    def _collect(self) -> Iterator[Finished]:
        """Waits for the next outcomes."""
        yield from self._failures()
        waiting = {member.opening: member for member in self._crew if member.opening is not None}
        waiting |= {member.jobs[0].ref: member for member in self._crew if member.jobs}
        if not waiting:
            time.sleep(TICK / 10)
            return
        refs = list(waiting)
        ready, _ = self._cluster.ray.wait(refs, num_returns=1, timeout=TICK)
        for ref in ready and self._ready(refs):
            member = waiting[ref]
            if member not in self._crew:
                continue
            try:
                found = self._cluster.ray.get(ref)
            except self._cluster.ray.exceptions.RayError as error:
                self._end(member, _why(error), lost=member.node not in {node.id for node in self._cluster.nodes()})
                continue
            if isinstance(found, Opened):
                self._opened(member, found)
            else:
                yield from self._finished(member, found)
        yield from self._failures()

    def _opened(self, member: Member, said: Opened) -> None:
        member.opening, member.host, member.pid, member.device = None, said.host, said.pid, said.device
        member.heard = member.since = time.monotonic()
        if said.unfit:
            self._refuse(member, said.unfit)
            self._crew.remove(member)
            self._cluster.ray.kill(member.actor, no_restart=True)
            self._looked = -math.inf

    def _finished(self, member: Member, outcome: Any) -> Iterator[Finished]:  # Any: an outcome or a failure
        if isinstance(outcome, Failure) and outcome.memory:
            self._end(member, outcome.reason)
            return
        job = member.jobs.popleft()
        member.begins()
        member.done += 1
        self._trials.pop(_key(job.shard), None)
        yield Finished(job.shard, outcome)

    def _failures(self) -> Iterator[Finished]:
        while self._failed:
            yield self._failed.pop()

    def _ready(self, refs: Sequence[Any]) -> list[Any]:  # Any: Ray's references
        """Those that are there already."""
        found: list[Any] = self._cluster.ray.wait(refs, num_returns=len(refs), timeout=0)[0]
        return found


def _key(shard: AnyShard) -> tuple[str, int]:
    return shard.cell_id, shard.index


def _why(error: Exception) -> str:
    """Ray's error in a few words."""
    text = str(error)
    if "OutOfMemory" in type(error).__name__:
        return "its node ran out of memory"
    for mark in ("Worker exit detail:", "raised in its creation task,"):
        if mark in text:
            return " ".join(text[text.index(mark) :].removeprefix(mark).split())[:200]
    return " ".join(text.split())[:200]
