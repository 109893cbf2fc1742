"""Evaluates the corruption cells of a run: a forward pass on every corrupted image, saved shard by shard."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bench.datasets.base import image_digest
from bench.datasets.corruptions.base import Corruptions, Pixels
from bench.errors import BenchError, SchemaError, StoreError, WriteError
from bench.metrics import estimates
from bench.runner.corruption_plan import PlannedCorruption
from bench.runner.devices import describe
from bench.runner.events import Progress
from bench.runner.judge import Prediction, exact_arithmetic, predict
from bench.runner.preflight import Plan
from bench.runner.provenance import now
from bench.runner.worker import Worker
from bench.store.corrupted import CorruptedRecord, CorruptedReport, CorruptionResult, CorruptionStore
from bench.store.records import Status
from bench.suites.corruption_cells import CorruptionCell

SHARD = 4096
"""Samples of a part file: a forward pass each, so that larger ones than those of attacks cost nothing."""
KEPT_BYTES = 1 << 30
"""So many bytes of corrupted images are kept for the next model; what is beyond is made again."""


class CorruptionRun:
    """The corruption cells of one run.

    Args:
        plan: the suite.
        store: where they are saved.
        worker: holds the models.
        progress: hears how it goes on.
        environment: versions and device.
    """

    def __init__(
        self,
        plan: Plan,
        store: CorruptionStore,
        worker: Worker,
        progress: Progress,
        environment: Mapping[str, Any],  # Any: JSON values
    ) -> None:
        self.plan, self.store, self.worker, self.progress, self.environment = plan, store, worker, progress, environment
        self.images = None if plan.corrupted.images is None else _Kept(plan.corrupted.images)

    def pending(self) -> dict[str, tuple[int, ...]]:
        """See :func:`pending_samples`."""
        return pending_samples(self.plan, self.store)

    def all_cells(self, pending: Mapping[str, tuple[int, ...]]) -> tuple[CorruptionResult, ...]:
        """Evaluates what is pending, and records every cell.

        Raises:
            WriteError: where the disk is full.
        """
        results: list[CorruptionResult] = []
        for row in self.plan.corrupted.rows:
            self.progress.row_started(row_label(row), sum(len(pending[one.id]) for one in row))
            failure = self._loaded(row) if any(pending[one.id] for one in row) else None
            made = [
                self._failed(one, "error", *failure)
                if failure and pending[one.id]
                else self._cell(one, pending[one.id])
                for one in row
            ]
            results += made
            self.progress.row_done(_said(made), failed=any(result.status != "done" for result in made))
        return tuple(results)

    def _loaded(self, row: Sequence[PlannedCorruption]) -> tuple[str, str] | None:
        """Loads a row's model and defense; why that failed, and the traceback, so that it isn't tried for every cell."""
        try:
            self.worker.target(row[0].cell)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of the row's cells: they become errors)
            return _reason(error), traceback.format_exc()
        return None

    def _cell(self, planned: PlannedCorruption, members: tuple[int, ...]) -> CorruptionResult:
        """One cell: whatever fails inside becomes its record, except that the store itself fails."""
        if planned.unavailable:
            return self._failed(planned, "unavailable", planned.unavailable, "")
        if planned.broken:
            return self._failed(planned, "error", planned.broken, "")
        try:
            for index, start in enumerate(range(0, len(self.plan.dataset), SHARD)):
                shard = tuple(member for member in members if start <= member < start + SHARD)
                if shard:
                    self._shard(planned, index, shard)
            return self._finished(planned, fresh=bool(members))
        except (WriteError, SchemaError):
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: a failure is an error cell, never a number)
            return self._failed(planned, "error", _reason(error), traceback.format_exc())

    def _shard(self, planned: PlannedCorruption, index: int, members: tuple[int, ...]) -> None:
        """In pieces of the suite's shards, so that the clean predictions of the attack cells serve here too."""
        started, records = time.perf_counter(), list[CorruptedRecord]()
        size = self.plan.suite.run.shard_size
        for number in dict.fromkeys(member // size for member in members):
            piece = tuple(member for member in members if member // size == number)
            records += self._piece(planned, piece)
            self.progress.attacking(len(records), sum(record.correct for record in records))
        report = CorruptedReport(
            samples=len(records),
            seconds=time.perf_counter() - started,
            device=describe(self.worker.device),
            flags=self.worker.flags(planned.cell),
        )
        self.store.write_shard(planned.id, index, records, report)
        self.progress.shard_done(len(records), sum(record.correct for record in records))

    def _piece(self, planned: PlannedCorruption, members: tuple[int, ...]) -> list[CorruptedRecord]:
        cell, worker = planned.cell, self.worker
        assert self.images is not None  # else the cell is unavailable
        pixels = self.images.of(cell, members)
        with exact_arithmetic():
            target = worker.target(cell)
            batch = worker.dataset.batch(np.asarray(members, dtype=np.int64))
            x, y = batch.x.to(worker.device), batch.y.to(worker.device)
            clean = worker.clean(cell, members, x, y)
            corrupted = torch.from_numpy(pixels).float().div(255)
            scoring = worker.scoring(cell, tuple(worker.dataset.sample_ids[index] for index in members))
            with worker.guarded(cell):
                found = predict(target, corrupted.to(worker.device), y, worker.batch_size, scoring)
        digests = [(image_digest(one), image_digest(other)) for one, other in zip(batch.x, corrupted, strict=True)]
        return self._records(planned, members, digests, batch.y, clean, found)

    def _records(
        self,
        planned: PlannedCorruption,
        members: tuple[int, ...],
        digests: Sequence[tuple[str, str]],
        labels: torch.Tensor,
        clean: Prediction,
        found: Prediction,
    ) -> list[CorruptedRecord]:
        dataset = self.worker.dataset
        columns = {
            "label": labels, "clean_prediction": clean.predicted, "clean_correct": clean.correct,
            "clean_correctness": clean.right, "prediction": found.predicted, "correct": found.correct,
            "correctness": found.right, "margin": found.margin, "confidence": found.confidence,
            "rejected": found.rejected,
        }  # fmt: skip
        values = {name: column.tolist() for name, column in columns.items()}
        return [
            CorruptedRecord(
                cell=planned.id,
                position=int(dataset.positions[member]),
                sample_id=dataset.sample_ids[member],
                sample_digest=digests[row][0],
                corrupted_digest=digests[row][1],
                **{name: column[row] for name, column in values.items()},
            )
            for row, member in enumerate(members)
        ]

    def _finished(self, planned: PlannedCorruption, *, fresh: bool) -> CorruptionResult:
        old = None if fresh else self.store.read_result(planned.id)
        rows, reports = self.store.read(planned.id)
        rows = rows[rows["sample_id"].isin(self.plan.dataset.sample_ids)]
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


class _Kept:
    """Corrupted images, made or read once for all models as long as they fit into memory."""

    def __init__(self, images: Corruptions) -> None:
        self._images, self._bytes = images, 0
        self._made: dict[tuple[str, int, tuple[int, ...]], Pixels] = {}

    def of(self, cell: CorruptionCell, members: tuple[int, ...]) -> Pixels:
        """Those of some samples of a cell, shape (n, C, H, W)."""
        key = (cell.corruption, cell.severity, members)
        if key in self._made:
            return self._made[key]
        made = self._images.images(*key)
        if self._bytes + made.nbytes <= KEPT_BYTES:
            self._made[key] = made
            self._bytes += made.nbytes
        return made


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


def _reason(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text if isinstance(error, BenchError) and text else f"{type(error).__name__}: {text}"
