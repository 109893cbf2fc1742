"""Shards, the units of work, of saving and of resuming, and what becomes of them. No torch: they travel between machines."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError, out_of_memory
from bench.store.corrupted import CorruptedRecord, CorruptedReport
from bench.store.parts import Examples, ShardReport
from bench.store.records import SampleRecord
from bench.suites.cells import Cell
from bench.suites.corruption_cells import CorruptionCell


@dataclass(frozen=True, slots=True)
class Shard:
    """A fixed range of the samples of one attack cell.

    Attributes:
        cell: the cell.
        cell_id: its id.
        index: number of the shard in the cell.
        members: places of its samples in the dataset's selection.
        keep: which adversarial examples are kept: none, successes or all.
        examples: of an oblivious or a transfer cell, those of its prerequisite; of a cell that builds on a smaller eps,
            the successes there.
    """

    cell: Cell
    cell_id: str
    index: int
    members: tuple[int, ...]
    keep: str
    examples: Examples | None = None


@dataclass(frozen=True, slots=True)
class ShardOutcome:
    """What a shard gives: rows, cost, the examples to keep, and what a purifier made of those that a gallery may show."""

    records: list[SampleRecord]
    report: ShardReport
    examples: Examples | None
    purified: Examples | None = None


@dataclass(frozen=True, slots=True)
class CorruptedShard:
    """The same of a corruption cell.

    Attributes:
        cell: the cell.
        cell_id: its id.
        index: number of the shard in the cell.
        members: places of its samples in the dataset's selection.
        piece: samples of a piece: the shards of attack cells, so that their clean predictions serve here too.
        images: the corrupted images, shape (n, C, H, W), where they travel with it; else whoever evaluates it makes or
            reads them.
    """

    cell: CorruptionCell
    cell_id: str
    index: int
    members: tuple[int, ...]
    piece: int
    images: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class CorruptedOutcome:
    """What a shard of a corruption cell gives."""

    records: list[CorruptedRecord]
    report: CorruptedReport


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a shard has no outcome: its cell is an error, never a number.

    Attributes:
        reason: in one line.
        traceback: where it happened.
        model: whether the model couldn't even be loaded, so that its other cells needn't be tried.
        memory: whether memory ran out, so that it may work elsewhere.
    """

    reason: str
    traceback: str
    model: bool = False
    memory: bool = False


AnyShard: TypeAlias = Shard | CorruptedShard
AnyOutcome: TypeAlias = ShardOutcome | CorruptedOutcome


def reason_of(error: BaseException) -> str:
    """The first line of what bench says on purpose; for other exceptions with their name."""
    text = str(error).strip().split("\n")[0]
    return text if isinstance(error, BenchError) and text else f"{type(error).__name__}: {text}"


def failure_of(error: BaseException, *, model: bool = False) -> Failure:
    """The failure of a shard, called while the exception is handled."""
    return Failure(reason_of(error), "".join(traceback.format_exception(error)), model, out_of_memory(error))


def only(examples: Examples, sample_ids: Sequence[str]) -> Examples:
    """The examples of some samples, those that aren't there left out."""
    wanted = set(sample_ids)
    places = [place for place, sample in enumerate(examples.sample_ids) if sample in wanted]
    if len(places) == len(examples.sample_ids):
        return examples
    images = examples.images[places] if places else examples.images[:0]
    return Examples(tuple(examples.sample_ids[place] for place in places), images)
