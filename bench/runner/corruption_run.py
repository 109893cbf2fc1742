"""Evaluates the corruption cells of a run: a forward pass on every corrupted image, saved shard by shard."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.errors import SchemaError, StoreError, WriteError
from bench.metrics import estimates
from bench.runner.asked import asked
from bench.runner.corruption_plan import PlannedCorruption
from bench.runner.events import Progress
from bench.runner.executors.base import Executor, Queue
from bench.runner.preflight import Plan
from bench.runner.provenance import now
from bench.runner.shards import AnyOutcome, AnyShard, CorruptedOutcome, CorruptedShard, Failure, failure_of, reason_of
from bench.store.corrupted import CorruptionResult, CorruptionStore
from bench.store.records import Status

SHARD = 4096
"""Samples of a part file: a forward pass each, so that larger ones than those of attacks cost nothing."""


class CorruptionRun:
    """The corruption cells of one run.

    Args:
        plan: the suite.
        store: where they are saved.
        executor: evaluates them.
        progress: hears how it goes on.
        environment: versions and device.
    """

    def __init__(
        self,
        plan: Plan,
        store: CorruptionStore,
        executor: Executor,
        progress: Progress,
        environment: Mapping[str, Any],  # Any: JSON values
    ) -> None:
        self.plan, self.store, self.executor, self.progress = plan, store, executor, progress
        self.environment = environment
        self._rows: list[_Row] = []

    def pending(self) -> dict[str, tuple[int, ...]]:
        """See :func:`pending_samples`."""
        return pending_samples(self.plan, self.store)

    def all_cells(self, pending: Mapping[str, tuple[int, ...]]) -> tuple[CorruptionResult, ...]:
        """Evaluates what is pending, and records every cell.

        Raises:
            WriteError: where the disk is full.
        """
        self._rows = [
            _Row(row, {one.id: corrupted_shards(self.plan, one, pending[one.id]) for one in row})
            for row in self.plan.corrupted.rows
        ]
        queue, waiting = Queue(self._started), list(self._rows)
        while waiting:
            while waiting and (self.executor.ahead > 1 or not queue):
                self._open(queue, waiting.pop(0))
            for shard, outcome in self.executor.outcomes(queue):
                self._settle(queue, shard, outcome)
        return tuple(row.results[one.id] for row in self._rows for one in row.cells)

    def _open(self, queue: Queue, row: _Row) -> None:
        """Lets the shards of a row wait; a row that has none is finished."""
        if not any(row.left.values()):
            self._begin(row)
            self._close(row)
        for one in row.cells:
            queue.add(row.left[one.id], cost=float(sum(len(shard.members) for shard in row.left[one.id])))

    def _row_of(self, shard: AnyShard) -> _Row:
        return next(row for row in self._rows if shard.cell_id in row.left)

    def _started(self, shard: AnyShard) -> AnyShard:
        row = self._row_of(shard)
        if not row.begun:
            self._begin(row)
        return shard

    def _begin(self, row: _Row) -> None:
        row.begun = True
        samples = sum(len(shard.members) for shards in row.left.values() for shard in shards)
        self.progress.row_started(row_label(row.cells), samples)

    def _settle(self, queue: Queue, shard: AnyShard, outcome: AnyOutcome | Failure) -> None:
        """Saves a shard, and finishes its row with the last one."""
        row = self._row_of(shard)
        if isinstance(outcome, Failure):
            # What keeps the model or the defense from being loaded keeps every cell of the row from being evaluated.
            for cell in row.left if outcome.model else [shard.cell_id]:
                if row.left[cell]:
                    row.failures.setdefault(cell, outcome)
                    row.left[cell] = []
                    queue.drop(cell)
        else:
            assert isinstance(outcome, CorruptedOutcome)
            self._save(queue, row, shard, outcome)
        if not any(row.left.values()) and not row.results:
            self._close(row)

    def _save(self, queue: Queue, row: _Row, shard: AnyShard, outcome: CorruptedOutcome) -> None:
        try:
            self.store.write_shard(shard.cell_id, shard.index, outcome.records, outcome.report)
        except (WriteError, SchemaError):
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: a failure is an error cell, never a number)
            row.failures.setdefault(shard.cell_id, failure_of(error))
            row.left[shard.cell_id] = []
            queue.drop(shard.cell_id)
            return
        self.progress.shard_done(len(outcome.records), sum(record.correct for record in outcome.records))
        row.left[shard.cell_id] = [one for one in row.left[shard.cell_id] if one.index != shard.index]

    def _close(self, row: _Row) -> None:
        """Records the cells of a row."""
        for one in row.cells:
            row.results[one.id] = self._cell(one, row.failures.get(one.id), fresh=one.id in row.fresh)
        made = list(row.results.values())
        failed = any(result.status != "done" for result in made)
        self.progress.row_done(row_label(row.cells), _said(made), failed=failed)

    def _cell(self, planned: PlannedCorruption, failure: Failure | None, *, fresh: bool) -> CorruptionResult:
        """The record of a cell: whatever fails becomes that, except that the store itself fails."""
        if planned.unavailable:
            return self._failed(planned, "unavailable", planned.unavailable, "")
        if planned.broken:
            return self._failed(planned, "error", planned.broken, "")
        if failure is not None:
            return self._failed(planned, "error", failure.reason, failure.traceback)
        try:
            return self._finished(planned, fresh=fresh)
        except (WriteError, SchemaError):
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (as above)
            return self._failed(planned, "error", reason_of(error), traceback.format_exc())

    def _finished(self, planned: PlannedCorruption, *, fresh: bool) -> CorruptionResult:
        old = None if fresh else self.store.read_result(planned.id)
        rows, reports = self.store.read(planned.id)
        rows = rows[asked(rows, self.plan.dataset.sample_ids)]
        if len(rows) != len(self.plan.dataset):
            raise StoreError(f"{planned.id}: {len(self.plan.dataset) - len(rows)} samples have no row")
        result = self._record(
            planned,
            "done",
            accuracy=estimates.share(rows["correctness"].to_numpy(dtype=float)),
            clean_accuracy=estimates.share(rows["clean_correctness"].to_numpy(dtype=float)),
            seconds=sum(report.seconds for report in reports),
            flags=tuple(dict.fromkeys(flag for report in reports for flag in report.flags)),
        )
        volatile = {"provenance"}
        if old is not None and old.model_dump(exclude=volatile) == result.model_dump(exclude=volatile):
            return old
        self.store.write_result(result)
        return result

    def _failed(self, planned: PlannedCorruption, status: Status, reason: str, trace: str) -> CorruptionResult:
        result = self._record(planned, status, reason=reason, traceback=trace)
        self.store.write_result(result)
        return result

    def _record(self, planned: PlannedCorruption, status: Status, **more: Any) -> CorruptionResult:  # Any: its fields
        cell, located = planned.cell, planned.located
        provenance = {
            "weights": located.weights_digest if located else None,
            "architecture": located.architecture_digest if located else None,
            "recipe": located.recipe or None if located else None,
            "dataset": self.plan.dataset.digest,
            "facts": planned.facts,
            "published": list(located.published) if located and located.published else None,
            "environment": dict(self.environment),
            "finished": now(),
            "parts": self.store.seals(planned.id) if status == "done" else {},
        }
        return CorruptionResult(
            cell=planned.id,
            status=status,
            dataset=cell.dataset,
            model=cell.model,
            defense=cell.defense,
            corruption=cell.corruption,
            severity=cell.severity,
            published=cell.source.path is not None,
            seed=cell.seed,
            samples=len(self.plan.dataset),
            provenance=provenance,
            **more,
        )


def pending_samples(plan: Plan, store: CorruptionStore) -> dict[str, tuple[int, ...]]:
    """By the ids of corruption cells, the places of samples without a row; all of a damaged cell, none of one that can't run.

    Args:
        plan: the suite.
        store: where they are saved.

    Raises:
        SchemaError: where a newer bench has written one.
    """
    dataset = plan.dataset
    everything = range(len(dataset)) if plan.corrupted.cells else range(0)
    now_there = {dataset.sample_ids[index]: dataset.sample_digest(index) for index in everything}
    found: dict[str, tuple[int, ...]] = {}
    for planned in plan.corrupted.cells:
        if planned.unavailable or planned.broken:
            found[planned.id] = ()
            continue
        try:
            rows = store.read(planned.id).rows
        except SchemaError:
            raise
        except StoreError:  # it fails when its turn comes, and stops no other cell
            found[planned.id] = tuple(everything)
            continue
        known = dict(zip(rows["sample_id"], rows["sample_digest"], strict=True))
        ids = dataset.sample_ids
        found[planned.id] = tuple(index for index in everything if known.get(ids[index]) != now_there[ids[index]])
    return found


def corrupted_shards(plan: Plan, planned: PlannedCorruption, members: tuple[int, ...]) -> list[CorruptedShard]:
    """The shards of a corruption cell.

    Args:
        plan: the suite.
        planned: the cell.
        members: places of the samples without a row.
    """
    shards, size = [], plan.suite.run.shard_size
    for index, start in enumerate(range(0, len(plan.dataset), SHARD)):
        there = tuple(member for member in members if start <= member < start + SHARD)
        if there:
            shards.append(CorruptedShard(planned.cell, planned.id, index, there, size))
    return shards


@dataclass(slots=True)
class _Row:
    """The corruption cells of a model and defense while they are evaluated."""

    cells: Sequence[PlannedCorruption]
    left: dict[str, list[CorruptedShard]]
    begun: bool = False
    failures: dict[str, Failure] = field(default_factory=dict)
    results: dict[str, CorruptionResult] = field(default_factory=dict)
    fresh: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.fresh = frozenset(cell for cell, shards in self.left.items() if shards)


def row_label(row: Sequence[PlannedCorruption]) -> str:
    """The corruption cells of a model and defense, for people, on one line."""
    cell = row[0].cell
    defense = "" if cell.defense.name == "none" else f" + {cell.defense_id}"
    return f"{cell.model.id}{defense} | {len(row)} corruption cell{'s' * (len(row) != 1)}"


def _said(results: Sequence[CorruptionResult]) -> str:
    """How a row ended, in a few words."""
    failed = [result for result in results if result.status != "done"]
    if failed:
        return f"{len(failed)} of {len(results)} {failed[0].status}: {failed[0].reason}"
    shares = [result.accuracy.value for result in results if result.accuracy and result.accuracy.value is not None]
    return f"{100 * sum(shares) / len(shares):.1f} % right on average"
