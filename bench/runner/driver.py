"""Plans and writes: gives the shards of a suite's cells to an executor, and saves what comes back."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any

from bench.errors import BenchError, SchemaError, StoreError, WriteError
from bench.runner import aggregate
from bench.runner.corruption_run import CorruptionRun
from bench.runner.events import Progress
from bench.runner.executors.base import Executor, Queue
from bench.runner.options import RunSettings
from bench.runner.order import Order
from bench.runner.passes import most_passes
from bench.runner.pending import look, pending_shards
from bench.runner.preflight import Plan, PlannedCell
from bench.runner.provenance import now
from bench.runner.recognised import Recognised
from bench.runner.run_file import RunFile
from bench.runner.shards import AnyOutcome, AnyShard, Failure, Shard, ShardOutcome, failure_of, only, reason_of
from bench.runner.smaller_eps import SmallerEps
from bench.runner.submitted import carried_over
from bench.store.corrupted import CorruptionResult, CorruptionStore
from bench.store.gallery import IMAGES, write_clean
from bench.store.parts import Examples
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory
from bench.suites.expand import Makers


@dataclass(slots=True)
class _Opened:
    """A cell whose shards are given out.

    Attributes:
        place: in the suite.
        planned: as the suite has it.
        actual: as it is run.
        left: numbers of the shards that aren't saved yet.
        samples: of all of them.
        begun: whether one was taken.
    """

    place: int
    planned: PlannedCell
    actual: PlannedCell
    left: set[int]
    samples: int
    begun: bool = False


class Driver:
    """One run of a suite.

    Args:
        plan: the suite.
        directory: where it is saved; locked by the caller.
        executor: evaluates shards.
        settings: what the user says beside the suite.
        progress: hears how it goes on.
        environment: versions and devices, for the records.
    """

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        executor: Executor,
        settings: RunSettings,
        progress: Progress,
        environment: dict[str, Any],  # Any: JSON values
    ) -> None:
        self.plan, self.directory, self.executor = plan, directory, executor
        self.settings, self.progress, self.environment = settings, progress, environment
        self.makers = Makers(planned.cell for planned in plan.cells)
        self.examples: tuple[str, Examples] | None = None
        self.failed_models: dict[str, Failure] = {}
        self.damaged: dict[str, StoreError] = {}
        self.smaller_eps = SmallerEps(directory)
        self.submitted: tuple[str, ...] = ()
        self.file = RunFile(directory, settings.run, environment)
        self.recognised = Recognised(plan, directory)
        self.changed = True
        self.corruptions = CorruptionRun(plan, CorruptionStore(directory), executor, progress, environment)
        self.order = Order(plan)
        self.queue = Queue(self._started)
        self.pending: dict[str, list[Shard]] = {}
        self.opened: dict[str, _Opened] = {}
        self.results: dict[int, CellResult] = {}

    def all_cells(self) -> tuple[tuple[CellResult, ...], tuple[CorruptionResult, ...]]:
        """Every cell of the suite; the records of attack and corruption cells come in the suite's order."""
        self._refuse_newer()
        self.submitted = carried_over(self.directory, self.plan, self.progress.note)
        self.pending = look(self.plan, lambda planned, needed: self._pending(planned, needed=needed))
        corrupted = self.corruptions.pending()
        self.changed = not self._current(corrupted)
        if self.changed:
            self._write_run(None)
        self._write_gallery()
        samples = sum(len(shard.members) for shards in self.pending.values() for shard in shards)
        samples += sum(len(members) for members in corrupted.values())
        done = sum(not left for left in (*self.pending.values(), *corrupted.values()))
        self.progress.begin(len(self.plan.cells) + len(corrupted), done, samples)
        self._open_more()
        for shard, outcome in self.executor.outcomes(self.queue):
            self._settle(shard, outcome)
        under_corruption = self.corruptions.all_cells(corrupted)
        if self.changed:
            self._write_run(now())
        return tuple(self.results[place] for place in sorted(self.results)), under_corruption

    def _open_more(self) -> None:
        """Gives out the shards of cells that are ready, as many as the executor wants to choose from."""
        self.order.open_more(self.queue, self.executor.ahead, self._open)

    def _open(self, place: int) -> None:
        planned = self.plan.cells[place]
        actual, shards = self._settled(planned, place, self.pending[planned.id])
        cell = _Opened(
            place, planned, actual, {shard.index for shard in shards}, sum(len(shard.members) for shard in shards)
        )
        if actual.unavailable:
            self._close(cell, self._failed(actual, "unavailable", actual.unavailable, ""))
        elif actual.broken:
            self._close(cell, self._failed(actual, "error", actual.broken, ""))
        elif not shards:
            self._close(cell, self._finish(actual, fresh=False))
        else:
            self.opened[actual.id] = cell
            cost = math.inf  # of one shard ahead there is nothing to choose
            if self.executor.ahead > 1:
                cost = most_passes(actual.cell, self.plan.dataset.num_classes, cell.samples)
            self.queue.add(shards, cost)

    def _started(self, shard: AnyShard) -> AnyShard | None:
        """A shard with the examples that it reads; ``None`` where its cell can't be evaluated."""
        assert isinstance(shard, Shard)
        cell = self.opened[shard.cell_id]
        if not cell.begun:
            cell.begun = True
            self.progress.cell_started(cell.actual.cell, self.order.number[cell.place], cell.samples)
        try:
            if shard.cell_id in self.damaged:
                raise self.damaged[shard.cell_id]
            shard = self._with_examples(cell.actual, shard)
        except (WriteError, SchemaError):
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: a failure is an error cell, never a number)
            self._fail(cell, failure_of(error))
            return None
        if shard.cell.model.id in self.failed_models:  # it isn't loaded again for each of its cells
            self._fail(cell, self.failed_models[shard.cell.model.id])
            return None
        return shard

    def _with_examples(self, planned: PlannedCell, shard: Shard) -> Shard:
        if planned.cell.transferred:
            examples: Examples | None = self._read(planned)
        elif planned.smaller is not None:
            examples = self.smaller_eps.successes(planned.smaller)
        else:
            return shard
        wanted = [self.plan.dataset.sample_ids[member] for member in shard.members]
        return replace(shard, examples=None if examples is None else only(examples, wanted))

    def _settle(self, shard: AnyShard, outcome: AnyOutcome | Failure) -> None:
        """Saves a shard, and finishes its cell with the last one."""
        cell = self.opened.get(shard.cell_id)  # none: another of its shards has failed meanwhile
        if isinstance(outcome, Failure):
            if outcome.model:
                self.failed_models.setdefault(shard.cell.model.id, outcome)
            if cell is not None:
                self._fail(cell, outcome)
            return
        assert isinstance(outcome, ShardOutcome)
        purified = None if self.plan.suite.run.save_adversarial == "none" else outcome.purified
        try:
            self.directory.write_shard(
                shard.cell_id, shard.index, outcome.records, outcome.report, outcome.examples, purified
            )
        except (WriteError, SchemaError):
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge, as above)
            if cell is not None:
                self._fail(cell, failure_of(error))
            return
        self.progress.shard_done(len(outcome.records), sum(record.robust for record in outcome.records))
        if cell is not None:
            cell.left.discard(shard.index)
            if not cell.left:
                self._close(cell, self._finish(cell.actual, fresh=True))

    def _fail(self, cell: _Opened, failure: Failure) -> None:
        self.queue.drop(cell.actual.id)
        self._close(cell, self._failed(cell.actual, "error", failure.reason, failure.traceback))

    def _close(self, cell: _Opened, result: CellResult) -> None:
        self.opened.pop(cell.actual.id, None)
        self.results[cell.place] = result
        if result.status == "done":
            self.smaller_eps.finished(cell.planned, cell.actual)
        self.progress.cell_done(result)
        self.order.finished(cell.place)
        self._open_more()

    def _current(self, corrupted: Mapping[str, Sized]) -> bool:
        """Whether there is nothing to do, and nothing to write: a run that was finished is left as it is."""
        if corrupted or any(self.pending.values()):
            return False
        known = [self.recognised.result(planned) for planned in self.plan.cells]
        submissions = [self.directory.read_cell(one) for one in self.submitted]
        done = None not in known and all(one is not None and self.recognised.sealed(one) for one in submissions)
        return done and self.file.current(self.plan, self.submitted)

    def _refuse_newer(self) -> None:
        """Records of a newer bench are left as they are; damaged ones are written anew."""
        if (self.directory.path / "run.json").exists():
            try:
                self.file.joined = self.directory.read_run().joined
            except SchemaError:
                raise
            except StoreError as error:
                self.progress.note(f"{reason_of(error)}; it is written anew")
        for planned in self.plan.cells:
            if self.recognised.result(planned) is None:
                self._old(planned)

    def _pending(self, planned: PlannedCell, *, needed: bool = False) -> list[Shard]:
        if planned.unavailable or planned.broken:
            return []
        try:
            return pending_shards(self.plan, planned, self.directory, self.recognised, needed=needed)
        except SchemaError:
            raise
        except StoreError as error:  # it fails when its turn comes, and stops no other cell
            self.damaged[planned.id] = error
            return [Shard(planned.cell, planned.id, 0, tuple(range(len(self.plan.dataset))), planned.keep)]

    def _settled(self, planned: PlannedCell, place: int, shards: list[Shard]) -> tuple[PlannedCell, list[Shard]]:
        """The cell and its shards as they can be run: another cell where the smaller eps that it builds on failed."""
        if not shards or planned.smaller is None:
            return planned, shards
        try:
            actual = self.smaller_eps.settled(planned)
        except SchemaError:
            raise
        except StoreError as error:
            self.damaged[planned.id] = error
            return planned, shards
        if actual.id == planned.id:
            return planned, shards
        below = planned.smaller.cell.threat_model.label
        self.progress.note(f"{planned.cell.label}: {below} failed, so nothing is reused from it")
        cells = list(self.plan.cells)
        cells[place] = actual
        self.plan = replace(self.plan, cells=tuple(cells))
        self._write_run(None)
        return actual, self._pending(actual)

    def _read(self, planned: PlannedCell) -> Examples:
        """The bare model's examples that an oblivious or a transfer cell judges."""
        wanted = self.makers.of(planned.cell)
        source = next(other for other in self.plan.cells if other.cell is wanted)
        if self.examples is None or self.examples[0] != source.id:
            record = self.directory.read_cell(source.id)
            if record is None or record.status != "done":
                reason = record.reason if record else "it isn't finished"
                raise BenchError(f"the examples of the bare model are missing: {source.cell.label}: {reason}")
            self.examples = (source.id, self.directory.read_examples(source.id))
        return self.examples[1]

    def _finish(self, planned: PlannedCell, *, fresh: bool) -> CellResult:
        known = None if fresh else self.recognised.result(planned)
        if known is not None:
            return known
        old = None if fresh else self._old(planned)
        try:
            rows, reports = self.directory.read_part_frames(planned.id)
            result = aggregate.finished(self.plan, planned, rows, reports, self.environment)
            if old is not None and old.status == "done" and _same(old, result):
                self.recognised.add(planned)
                return old
            result = aggregate.sealed(result, self.directory.seals(planned.id))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge)
            return self._failed(planned, "error", reason_of(error), traceback.format_exc())
        self.directory.write_cell(result)
        self.recognised.add(planned)
        return result

    def _old(self, planned: PlannedCell) -> CellResult | None:
        """The record of an earlier run; ``None`` where there is none, or it is damaged."""
        try:
            return self.directory.read_cell(planned.id)
        except SchemaError:
            raise
        except StoreError:
            return None

    def _failed(self, planned: PlannedCell, status: Any, reason: str, trace: str) -> CellResult:  # Any: a literal
        result = aggregate.failed(self.plan, planned, status, reason, trace, self.environment)
        self.directory.write_cell(result)
        return result

    def _write_run(self, finished: str | None) -> None:
        self.file.write(self.plan, self.submitted, finished)

    def _write_gallery(self) -> None:
        count = min(IMAGES, len(self.plan.dataset))
        write_clean(self.directory, self.plan.dataset.sample_ids[:count], self.plan.dataset.images[:count])


def _same(old: CellResult, new: CellResult) -> bool:
    """Whether a record says the same as before, apart from when and where it was written."""
    volatile = {"provenance"}
    return old.model_dump(exclude=volatile) == new.model_dump(exclude=volatile)
