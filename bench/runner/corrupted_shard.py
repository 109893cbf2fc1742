"""Evaluates one shard of one corruption cell: a forward pass on every corrupted image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from bench.attacks.listener import Listener
from bench.datasets.base import image_digest
from bench.datasets.corruptions.base import Corruptions, Pixels
from bench.runner.devices import describe
from bench.runner.judge import Prediction, exact_arithmetic, predict
from bench.runner.shards import CorruptedOutcome, CorruptedShard
from bench.runner.worker import Worker
from bench.store.corrupted import CorruptedRecord, CorruptedReport
from bench.suites.corruption_cells import CorruptionCell

KEPT_BYTES = 1 << 30
"""So many bytes of corrupted images are kept for the next model; what is beyond is made again."""


class Images(Protocol):
    """Where a shard's corrupted images come from."""

    def of(self, cell: CorruptionCell, members: tuple[int, ...]) -> Pixels:
        """Those of some samples of a cell, shape (n, C, H, W), in 0..255."""
        ...


class Kept:
    """Corrupted images, made or read once for all models as long as they fit into memory."""

    def __init__(self, images: Corruptions) -> None:
        self._images, self._bytes = images, 0
        self._made: dict[tuple[str, int, tuple[int, ...]], Pixels] = {}

    def of(self, cell: CorruptionCell, members: tuple[int, ...]) -> Pixels:
        """See :class:`Images`."""
        key = (cell.corruption, cell.severity, members)
        if key in self._made:
            return self._made[key]
        made = self._images.images(*key)
        if self._bytes + made.nbytes <= KEPT_BYTES:
            self._made[key] = made
            self._bytes += made.nbytes
        return made


def evaluate_corrupted(worker: Worker, images: Images, shard: CorruptedShard, report: Listener) -> CorruptedOutcome:
    """Evaluates one shard, in pieces of the suite's shards.

    Args:
        worker: holds the dataset and the model.
        images: gives the corrupted images.
        shard: what to evaluate.
        report: called with (samples finished, samples right).

    Raises:
        BenchError: where the model broke its contract, or the images can't be had.
    """
    started, records = time.perf_counter(), list[CorruptedRecord]()
    for number in dict.fromkeys(member // shard.piece for member in shard.members):
        records += _piece(
            worker, images, shard, tuple(member for member in shard.members if member // shard.piece == number)
        )
        report(len(records), sum(record.correct for record in records))
    cost = CorruptedReport(
        samples=len(records),
        seconds=time.perf_counter() - started,
        device=describe(worker.device),
        flags=worker.flags(shard.cell),
    )
    return CorruptedOutcome(records, cost)


def _piece(worker: Worker, images: Images, shard: CorruptedShard, members: tuple[int, ...]) -> list[CorruptedRecord]:
    cell = shard.cell
    pixels = images.of(cell, members)
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
    return _records(worker, shard.cell_id, members, digests, batch.y, clean, found)


def _records(
    worker: Worker,
    cell_id: str,
    members: tuple[int, ...],
    digests: Sequence[tuple[str, str]],
    labels: torch.Tensor,
    clean: Prediction,
    found: Prediction,
) -> list[CorruptedRecord]:
    dataset = worker.dataset
    columns = {
        "label": labels, "clean_prediction": clean.predicted, "clean_correct": clean.correct,
        "clean_correctness": clean.right, "prediction": found.predicted, "correct": found.correct,
        "correctness": found.right, "margin": found.margin, "confidence": found.confidence,
        "rejected": found.rejected,
    }  # fmt: skip
    values = {name: column.tolist() for name, column in columns.items()}
    return [
        CorruptedRecord(
            cell=cell_id,
            position=int(dataset.positions[member]),
            sample_id=dataset.sample_ids[member],
            sample_digest=digests[row][0],
            corrupted_digest=digests[row][1],
            **{name: column[row] for name, column in values.items()},
        )
        for row, member in enumerate(members)
    ]
