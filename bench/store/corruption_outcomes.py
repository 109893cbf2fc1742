"""What the corruption cells of a run say, joined by sample: how often each (model, defense) is right on each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.errors import SchemaError, StoreError
from bench.store.corrupted import CorruptionResult, CorruptionStore
from bench.store.records import RunRecord
from bench.store.run_directory import RunDirectory
from bench.suites.corruption_cells import CorruptionCell, expand_corruptions

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
CorruptedStatus = Literal["done", "error", "unavailable", "partial", "missing"]


@dataclass(frozen=True, slots=True, eq=False)
class CorruptedCell:
    """One corruption at one severity over the N samples that the suite asks for now.

    Attributes:
        id: id of the cell.
        corruption: name of the corruption.
        severity: from 1 to 5.
        status: whether its number can be shown.
        reason: why it can't, in one line.
        result: its record; ``None`` where it isn't finished.
        correctness: share of the draws in which each corrupted image is right and accepted, shape (N,); NaN where there
            is no row.
        clean_correctness: the same on the clean image.
    """

    id: str
    corruption: str
    severity: int
    status: CorruptedStatus
    reason: str
    result: CorruptionResult | None
    correctness: FloatArray
    clean_correctness: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class CorruptedRow:
    """One (model, defense) under all corruptions.

    Attributes:
        model: id of the model.
        defense: the defense's name in tables; ``none`` for the bare model.
        bare: whether there is no defense.
        cells: by corruption and severity, in the suite's order.
    """

    model: str
    defense: str
    bare: bool
    cells: tuple[CorruptedCell, ...]

    @property
    def label(self) -> str:
        """For people: the model, and the defense where there is one."""
        return self.model if self.bare else f"{self.model} + {self.defense}"

    @property
    def complete(self) -> bool:
        """Whether every cell is done."""
        return all(cell.status == "done" for cell in self.cells)

    def of(self, *, corruption: str | None = None, severity: int | None = None) -> tuple[CorruptedCell, ...]:
        """The cells of a corruption, of a severity, or of both."""
        return tuple(
            cell for cell in self.cells if corruption in (None, cell.corruption) and severity in (None, cell.severity)
        )


def read_corruptions(run: RunDirectory, record: RunRecord, positions: tuple[int, ...]) -> tuple[CorruptedRow, ...]:
    """The rows of a run's corruption cells, in the suite's order; none where the suite has none.

    Args:
        run: the run.
        record: its ``run.json``.
        positions: the samples that count, sorted.

    Raises:
        StoreError: where a cell's record is damaged, or the cells aren't those of the suite. A damaged part file makes its
            cell an error instead.
    """
    cells = expand_corruptions(record.suite)
    if len(cells) != len(record.corruption_cells):
        raise StoreError(
            f"{run.path}: run.json has {len(record.corruption_cells)} corruption cells, its suite {len(cells)}; run it again"
        )
    store = CorruptionStore(run)
    found: dict[tuple[str, str], list[CorruptedCell]] = {}
    bare: dict[tuple[str, str], bool] = {}
    for cell, identity in zip(cells, record.corruption_cells, strict=True):
        key = (cell.model.id, cell.defense_id)
        bare[key] = cell.defense.name == "none"
        found.setdefault(key, []).append(_outcome(store, cell, identity, np.asarray(positions, dtype=np.int64)))
    return tuple(CorruptedRow(*key, bare[key], tuple(row)) for key, row in found.items())


def _outcome(
    store: CorruptionStore, cell: CorruptionCell, identity: str, positions: npt.NDArray[np.int64]
) -> CorruptedCell:
    result = store.read_result(identity)
    shares, clean = np.full(len(positions), np.nan), np.full(len(positions), np.nan)
    damage = ""
    try:
        rows = store.read(identity).rows
        rows = rows[rows["position"].isin(positions)]
        place = np.searchsorted(positions, rows["position"].to_numpy(dtype=np.int64))
        shares[place] = rows["correctness"].to_numpy(dtype=float)
        clean[place] = rows["clean_correctness"].to_numpy(dtype=float)
    except SchemaError:
        raise
    except StoreError as error:
        damage = str(error)
    status, reason = _status(result, damage, bool(np.isnan(shares).any()))
    return CorruptedCell(identity, cell.corruption, cell.severity, status, reason, result, shares, clean)


def _status(result: CorruptionResult | None, damage: str, lacking: bool) -> tuple[CorruptedStatus, str]:
    if damage:
        return "error", damage
    if result is None:
        return "missing", "not evaluated yet"
    if result.status == "done" and lacking:
        return "partial", "samples that the suite asks for now have no row"
    return result.status, result.reason
