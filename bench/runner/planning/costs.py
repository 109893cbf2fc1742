"""What the pending shards of a suite take on each kind of device."""

from __future__ import annotations

from collections.abc import Mapping

from bench.runner.planning.calibrate import Planned, row_key
from bench.runner.planning.duration import correction, shard_seconds
from bench.runner.planning.known import Known
from bench.runner.planning.sources import KindSpeeds
from bench.runner.planning.speeds import Bound, RowSpeed
from bench.runner.planning.spending import NOTHING, Spending
from bench.runner.planning.work import Work
from bench.runner.preflight import PlannedCell
from bench.runner.shards import AnyShard


def pending_rows(work: Work) -> list[Planned]:
    """A cell of every row that has something to do."""
    found: dict[str, Planned] = {}
    for one in work.plan.every:
        if work.samples(one.id):
            found.setdefault(row_key(one, work.plan.dataset.shape), one)
    return list(found.values())


class Costs:
    """Seconds of shards.

    Args:
        work: what is pending.
        speeds: of each kind of device.
        known: what earlier evaluations tell.

    Attributes:
        spending: by the ids of pending cells, what is known of their passes.
        unknown: ids of pending cells of which nobody knows what they take on some device.
    """

    def __init__(self, work: Work, speeds: Mapping[str, KindSpeeds], known: Known) -> None:
        self._work, self._speeds = work, speeds
        pending = [one for one in work.plan.every if work.samples(one.id)]
        self._keys = {one.id: row_key(one, work.plan.dataset.shape) for one in pending}
        self.spending = {one.id: known.spending(one) if isinstance(one, PlannedCell) else NOTHING for one in pending}
        self._factors = {(one.id, kind): self._factor(one, kind) for one in pending for kind in speeds}
        self.unknown = frozenset(cell for (cell, _), factor in self._factors.items() if factor is None)
        self._found: dict[tuple[str, str, int, Bound], float] = {}

    def seconds(self, shard: AnyShard, kind: str, bound: Bound) -> float:
        """That a shard of a known cell takes on a kind of device."""
        key = (shard.cell_id, kind, len(shard.members), bound)
        if key not in self._found:
            spending, factor = self.spending[shard.cell_id], self._factors[shard.cell_id, kind]
            assert spending is not None  # else the cell would be unknown
            assert factor is not None
            pending = self._work.samples(shard.cell_id)
            took = shard_seconds(self._speed(shard.cell_id, kind), spending, len(shard.members), pending, bound)
            self._found[key] = factor * took
        return self._found[key]

    def load(self, shard: AnyShard, kind: str) -> float:
        """That the model of a shard takes to be loaded there."""
        return self._speed(shard.cell_id, kind).load

    def warm(self, shard: AnyShard, kind: str) -> float:
        """That the first shard of its row takes more there."""
        return self._speed(shard.cell_id, kind).warm

    def _speed(self, cell: str, kind: str) -> RowSpeed:
        return self._speeds[kind].rows[self._keys[cell]]

    def _factor(self, planned: Planned, kind: str) -> float | None:
        """By what the expected time is multiplied; ``None`` where nobody knows what the cell takes."""
        spending: Spending | None = self.spending[planned.id]
        if spending is None or self._keys[planned.id] not in self._speeds[kind].rows:
            return None
        found = correction(self._speed(planned.id, kind), spending, self._speeds[kind].device)
        if isinstance(planned, PlannedCell) and planned.cell.role == "certificate" and found is None:
            return None  # what it draws are no passes of an attack
        return 1.0 if found is None else found
