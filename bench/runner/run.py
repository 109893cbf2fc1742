"""Runs a suite: every pending shard of every cell, saved as it is done."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.errors import BenchError, ConsentError, Interrupted, SchemaError, StoreError, WriteError
from bench.runner import aggregate
from bench.runner.corruption_run import CorruptionRun
from bench.runner.devices import choose
from bench.runner.evaluate import Shard, evaluate
from bench.runner.events import Progress, Silent
from bench.runner.options import RunSettings
from bench.runner.pending import examples_bytes, in_running_order, look, pending_shards
from bench.runner.preflight import Plan, PlannedCell, preflight
from bench.runner.provenance import command, environment, now
from bench.runner.smaller_eps import SmallerEps
from bench.runner.submitted import carried_over
from bench.runner.worker import Worker
from bench.store.corrupted import CorruptionResult, CorruptionStore
from bench.store.gallery import IMAGES, write_clean
from bench.store.parts import Examples
from bench.store.records import CellResult, JoinedRun, RunRecord
from bench.store.run_directory import RunDirectory
from bench.suites.expand import prerequisite_of
from bench.suites.loaded import LoadedSuite

CONSENT_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        directory: the run's directory.
        results: the records of the suite's cells, in its order.
        corrupted: those of its corruption cells.
    """

    directory: Path
    results: tuple[CellResult, ...]
    corrupted: tuple[CorruptionResult, ...] = ()

    def count(self, status: str) -> int:
        """How many cells have this status."""
        attacked = sum(result.status == status for result in self.results)
        return attacked + sum(result.status == status for result in self.corrupted)


def run_suite(loaded: LoadedSuite, settings: RunSettings | None = None, progress: Progress | None = None) -> RunSummary:
    """Evaluates what isn't evaluated yet, and records every cell.

    Args:
        loaded: the suite.
        settings: where and how.
        progress: hears how it goes on.

    Raises:
        SuiteError: where the suite can't work.
        DatasetError: where the images can't be had.
        WriteError: where the results can't be written; what was finished is saved.
        SchemaError: where a newer bench has written into the run.
        StoreError: where another process is writing into it.
        ConsentError: where more than two gigabytes of examples would be saved without consent.
        Interrupted: on Ctrl-C; what was finished is saved.
    """
    settings, progress = settings or RunSettings(), progress or Silent()
    device = choose(settings.device)
    plan = preflight(loaded, settings.places, progress.note)
    directory = RunDirectory(settings.directory(plan.suite.name))
    size = examples_bytes(plan)
    if size > CONSENT_BYTES and not settings.yes:
        raise ConsentError(
            f"{loaded.path}: run.save_adversarial: the examples could take {size / 1e9:.1f} GB in {directory.path}; "
            "give --yes, or --set run.save_adversarial=none"
        )
    worker = Worker(
        plan.dataset,
        settings.places,
        device,
        settings.batch_size,
        pinned=settings.pin_batch,
        compiled=settings.compile,
        calibration=plan.calibration,
    )
    with directory.locked():
        run = _Run(plan, directory, worker, settings, progress, {**environment(device), "compiled": settings.compile})
        try:
            return run.all_cells()
        except KeyboardInterrupt as error:
            raise Interrupted(f"stopped; what was finished is saved in {directory.path}") from error
        finally:
            progress.end()


class _Run:
    """One run of a suite in this process."""

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        worker: Worker,
        settings: RunSettings,
        progress: Progress,
        environment: dict[str, Any],  # Any: JSON values
    ) -> None:
        self.plan, self.directory, self.worker = plan, directory, worker
        self.settings, self.progress, self.environment = settings, progress, environment
        self.cells = [planned.cell for planned in plan.cells]
        self.examples: tuple[str, Examples] | None = None
        self.failed_models: dict[str, tuple[str, str]] = {}
        self.damaged: dict[str, StoreError] = {}
        self.smaller_eps = SmallerEps(directory)
        self.submitted: tuple[str, ...] = ()
        self.joined: tuple[JoinedRun, ...] = ()
        self.corruptions = CorruptionRun(plan, CorruptionStore(directory), worker, progress, environment)
        self.started = now()

    def all_cells(self) -> RunSummary:
        """Every cell of the suite, smaller eps first; the records come in the suite's order."""
        self._refuse_newer()
        self.submitted = carried_over(self.directory, self.plan, self.progress.note)
        pending = look(self.plan, lambda planned, needed: self._pending(planned, needed=needed))
        corrupted = self.corruptions.pending()
        self._write_run(None)
        self._write_gallery()
        samples = sum(len(shard.members) for shards in pending.values() for shard in shards)
        samples += sum(len(members) for members in corrupted.values())
        done = sum(not left for left in (*pending.values(), *corrupted.values()))
        self.progress.begin(len(self.plan.cells) + len(corrupted), done, samples)
        results: dict[int, CellResult] = {}
        for number, place in enumerate(in_running_order(self.plan), start=1):
            planned = self.plan.cells[place]
            actual, shards = self._settled(planned, place, pending[planned.id])
            results[place] = self._cell(actual, shards, number)
            if results[place].status == "done":
                self.smaller_eps.finished(planned, actual)
            self.progress.cell_done(results[place])
        under_corruption = self.corruptions.all_cells(corrupted)
        self._write_run(now())
        ordered = tuple(results[place] for place in sorted(results))
        return RunSummary(self.directory.path, ordered, under_corruption)

    def _refuse_newer(self) -> None:
        """Records of a newer bench are left as they are; damaged ones are written anew."""
        if (self.directory.path / "run.json").exists():
            try:
                self.joined = self.directory.read_run().joined
            except SchemaError:
                raise
            except StoreError as error:
                self.progress.note(f"{_reason(error)}; it is written anew")
        for planned in self.plan.cells:
            self._old(planned)

    def _pending(self, planned: PlannedCell, *, needed: bool = False) -> list[Shard]:
        if planned.unavailable or planned.broken:
            return []
        try:
            return pending_shards(self.plan, planned, self.directory, needed=needed)
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

    def _cell(self, planned: PlannedCell, shards: list[Shard], number: int) -> CellResult:
        """One cell: whatever fails inside becomes its record, except that the store itself fails."""
        if planned.unavailable:
            return self._failed(planned, "unavailable", planned.unavailable, "")
        if planned.broken:
            return self._failed(planned, "error", planned.broken, "")
        if not shards:
            return self._finish(planned, fresh=False)
        self.progress.cell_started(planned.cell, number, sum(len(shard.members) for shard in shards))
        try:
            if planned.id in self.damaged:
                raise self.damaged[planned.id]
            for shard in shards:
                self._shard(planned, shard)
        except (WriteError, SchemaError):
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: a failure is an error cell, never a number)
            return self._failed(planned, "error", _reason(error), traceback.format_exc())
        return self._finish(planned, fresh=True)

    def _shard(self, planned: PlannedCell, shard: Shard) -> None:
        if planned.cell.transferred:
            shard = replace(shard, examples=self._read(planned))
        elif planned.smaller is not None:
            shard = replace(shard, examples=self.smaller_eps.successes(planned.smaller))
        self._loadable(planned)
        outcome = evaluate(self.worker, shard, self.progress.attacking)
        purified = None if self.plan.suite.run.save_adversarial == "none" else outcome.purified
        self.directory.write_shard(
            shard.cell_id, shard.index, outcome.records, outcome.report, outcome.examples, purified
        )
        robust = sum(record.robust for record in outcome.records)
        self.progress.shard_done(len(outcome.records), robust)

    def _loadable(self, planned: PlannedCell) -> None:
        """A model that failed to load once isn't loaded again for each of its cells."""
        identity = planned.cell.model.id
        if identity in self.failed_models:
            raise BenchError(self.failed_models[identity][0])
        try:
            self.worker.model(planned.cell.model, planned.cell.threat_model.norm)
        except (Exception, SystemExit) as error:
            self.failed_models[identity] = (_reason(error), traceback.format_exc())
            raise

    def _read(self, planned: PlannedCell) -> Examples:
        """The bare model's examples that an oblivious or a transfer cell judges."""
        wanted = prerequisite_of(planned.cell, self.cells)
        source = next(other for other in self.plan.cells if other.cell is wanted)
        if self.examples is None or self.examples[0] != source.id:
            record = self.directory.read_cell(source.id)
            if record is None or record.status != "done":
                reason = record.reason if record else "it isn't finished"
                raise BenchError(f"the examples of the bare model are missing: {source.cell.label}: {reason}")
            self.examples = (source.id, self.directory.read_examples(source.id))
        return self.examples[1]

    def _finish(self, planned: PlannedCell, *, fresh: bool) -> CellResult:
        old = None if fresh else self._old(planned)
        try:
            rows, reports = self.directory.read_part_frames(planned.id)
            result = aggregate.finished(self.plan, planned, rows, reports, self.environment)
            if old is not None and old.status == "done" and _same(old, result):
                return old
            result = aggregate.sealed(result, self.directory.seals(planned.id))
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge)
            return self._failed(planned, "error", _reason(error), traceback.format_exc())
        self.directory.write_cell(result)
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
        dataset = self.plan.dataset
        self.directory.write_run(
            RunRecord(
                suite=self.plan.suite,
                run=self.settings.run,
                command=command(),
                started=self.started,
                finished=finished,
                cells=(*(planned.id for planned in self.plan.cells), *self.submitted),
                corruption_cells=tuple(planned.id for planned in self.plan.corrupted.cells),
                positions=tuple(int(position) for position in dataset.positions),
                dataset={
                    "name": dataset.name,
                    "digest": dataset.digest,
                    "samples": len(dataset),
                    "num_classes": dataset.num_classes,
                    "class_names": list(dataset.class_names),
                    "shape": list(dataset.shape),
                    "note": dataset.note,
                },
                environment=self.environment,
                joined=self.joined,
            )
        )

    def _write_gallery(self) -> None:
        count = min(IMAGES, len(self.plan.dataset))
        write_clean(self.directory, self.plan.dataset.sample_ids[:count], self.plan.dataset.images[:count])


def _reason(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text if isinstance(error, BenchError) and text else f"{type(error).__name__}: {text}"


def _same(old: CellResult, new: CellResult) -> bool:
    """Whether a record says the same as before, apart from when and where it was written."""
    volatile = {"provenance"}
    return old.model_dump(exclude=volatile) == new.model_dump(exclude=volatile)
