"""One device of this process: cells one after the other, in the order of running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.attacks.listener import Listener
from bench.datasets.corruptions.base import Corruptions
from bench.runner.corrupted_shard import Kept
from bench.runner.executors.attempt import attempt
from bench.runner.executors.base import Finished, Queue
from bench.runner.provenance import environment
from bench.runner.worker import Worker


class LocalExecutor:
    """Evaluates shards in this process.

    Args:
        worker: holds the device.
        images: of the suite's corruption cells; ``None`` where it has none.
        report: called with (samples finished, samples still robust or right) inside a shard.
    """

    ahead: float = 1

    def __init__(self, worker: Worker, images: Corruptions | None, report: Listener) -> None:
        self._worker, self._report = worker, report
        self._images = None if images is None else Kept(images)

    @property
    def environment(self) -> dict[str, Any]:  # Any: JSON values
        """Versions, the device, threads."""
        return environment(self._worker.device)

    def outcomes(self, queue: Queue) -> Iterator[Finished]:
        """See :class:`bench.runner.executors.base.Executor`."""
        while (shard := queue.take()) is not None:
            yield Finished(shard, attempt(self._worker, self._images, shard, self._report))

    def close(self) -> None:
        """Nothing to let go that the process doesn't take along."""
