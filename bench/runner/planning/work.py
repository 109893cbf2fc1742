"""What a run still has to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.errors import SchemaError, StoreError
from bench.runner.corruption_run import pending_samples
from bench.runner.pending import look, pending_shards
from bench.runner.preflight import Plan, PlannedCell
from bench.runner.recognised import Recognised
from bench.runner.shards import Shard
from bench.store.corrupted import CorruptionStore
from bench.store.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Work:
    """The pending shards of a suite.

    Attributes:
        plan: the suite.
        shards: by the ids of attack cells, what is pending of them.
        corrupted: by the ids of corruption cells, the places of their pending samples.
        damaged: ids of attack cells whose files are damaged, so that nobody knows.
    """

    plan: Plan
    shards: Mapping[str, Sequence[Shard]]
    corrupted: Mapping[str, tuple[int, ...]]
    damaged: frozenset[str] = frozenset()

    def samples(self, cell: str) -> int:
        """How many samples of a cell are pending."""
        return sum(len(shard.members) for shard in self.shards.get(cell, ())) + len(self.corrupted.get(cell, ()))

    def without(self, cells: frozenset[str]) -> Work:
        """The same without some cells, as if they were done."""
        return replace(
            self,
            shards={cell: shards for cell, shards in self.shards.items() if cell not in cells},
            corrupted={cell: members for cell, members in self.corrupted.items() if cell not in cells},
        )


def pending_work(plan: Plan, directory: RunDirectory) -> Work:
    """Looks at what is there.

    Args:
        plan: the suite.
        directory: the run.

    Raises:
        SchemaError: where a newer bench has written there.
    """
    damaged, recognised = set[str](), Recognised(plan, directory)

    def pending(planned: PlannedCell, needed: bool) -> list[Shard]:
        if planned.unavailable or planned.broken:
            return []
        try:
            return pending_shards(plan, planned, directory, recognised, needed=needed)
        except SchemaError:
            raise
        except StoreError:
            damaged.add(planned.id)
            return []

    shards = look(plan, pending)
    return Work(plan, shards, pending_samples(plan, CorruptionStore(directory)), frozenset(damaged))
