"""What the corruption cells of a run say, joined by sample: how often each (model, defense) is right on each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.errors import SchemaError, StoreError
from bench.store.audit import Finding
from bench.store.corrupted import CorruptionResult, CorruptionStore
from bench.store.records import RunRecord
from bench.store.run_directory import RunDirectory
from bench.suites.corruption_cells import CorruptionCell, expand_corruptions

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.object_]
BoolArray = npt.NDArray[np.bool_]
CorruptedStatus = Literal["done", "error", "unavailable", "partial", "missing"]
_NAMES = ("sample_id", "sample_digest", "corrupted_digest")


class CellImages(NamedTuple):
    """The images of a cell, shape (N,) each; empty texts where there is no row."""

    sample_ids: TextArray
    sample_digests: TextArray
    """of each clean image, as attack cells have it"""
    corrupted_digests: TextArray


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
        images: reads which images these are, when asked: few need it.
    """

    id: str
    corruption: str
    severity: int
    status: CorruptedStatus
    reason: str
    result: CorruptionResult | None
    correctness: FloatArray
    clean_correctness: FloatArray
    images: Callable[[], CellImages]

    @property
    def made_of(self) -> dict[str, Any]:  # Any: JSON values
        """Which images these are: the corruption, and what made them or the digests of the published files."""
        facts = {} if self.result is None else self.result.provenance.get("facts", {})
        return {"corruption": self.corruption, "severity": self.severity, **facts.get("corruption", {})}


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

    @property
    def clean_correctness(self) -> FloatArray:
        """Share of the draws in which each clean image is right, by the first cell that has it, shape (N,); else NaN."""
        result = self.cells[0].clean_correctness
        for cell in self.cells[1:]:
            result = np.where(np.isnan(result), cell.clean_correctness, result)
        return result

    @property
    def corruptions(self) -> dict[str, tuple[CorruptedCell, ...]]:
        """The cells of each corruption."""
        return {kind: self.of(corruption=kind) for kind in dict.fromkeys(cell.corruption for cell in self.cells)}


def mean_correctness(shares: Mapping[str, Sequence[FloatArray]]) -> FloatArray:
    """For each image the mean over the corruptions of the mean over their severities, shape (N,).

    Args:
        shares: by corruption, those of each severity, shape (N,).
    """
    mean: FloatArray = np.mean([np.mean(of_kind, axis=0) for of_kind in shares.values()], axis=0)
    return mean


def named_images(rows: Sequence[CorruptedRow], n: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids and digests of the N samples, by the first cell that has them; empty where none has."""
    ids, digests = np.full(n, "", dtype=object), np.full(n, "", dtype=object)
    for cell in (cell for row in rows for cell in row.cells):
        lacking = ids == ""
        if not lacking.any():
            break
        if np.isnan(cell.correctness).all():  # damaged, or not there
            continue
        found = cell.images()
        ids, digests = np.where(lacking, found.sample_ids, ids), np.where(lacking, found.sample_digests, digests)
    return tuple(ids.tolist()), tuple(digests.tolist())


def read_corruptions(
    run: RunDirectory,
    record: RunRecord,
    positions: tuple[int, ...],
    findings: Callable[[str], Sequence[Finding]] = lambda cell: (),
) -> tuple[CorruptedRow, ...]:
    """The rows of a run's corruption cells, in the suite's order; none where the suite has none.

    Args:
        run: the run.
        record: its ``run.json``.
        positions: the samples that count, sorted.
        findings: of a cell, what the audit found: what it calls invalid makes the cell an error.

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
        refuted = next((one.message for one in findings(identity) if one.severity == "invalid"), "")
        places = np.asarray(positions, dtype=np.int64)
        found.setdefault(key, []).append(_outcome(store, cell, identity, places, refuted))
    return tuple(CorruptedRow(*key, bare[key], tuple(row)) for key, row in found.items())


def _outcome(
    store: CorruptionStore, cell: CorruptionCell, identity: str, positions: npt.NDArray[np.int64], refuted: str
) -> CorruptedCell:
    result = store.read_result(identity)
    shares, clean = np.full(len(positions), np.nan), np.full(len(positions), np.nan)
    damage = f"the audit found: {refuted}" if refuted else ""
    try:
        rows, place = _placed(store, identity, positions)
        shares[place] = rows["correctness"].to_numpy(dtype=float)
        clean[place] = rows["clean_correctness"].to_numpy(dtype=float)
    except SchemaError:
        raise
    except StoreError as error:
        damage = str(error)
    status, reason = _status(result, damage, bool(np.isnan(shares).any()))
    images = partial(_images, store, identity, positions)
    return CorruptedCell(identity, cell.corruption, cell.severity, status, reason, result, shares, clean, images)


def _placed(
    store: CorruptionStore, identity: str, positions: npt.NDArray[np.int64]
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """The rows of the samples that count, and the place of each among these."""
    rows = store.read(identity).rows
    rows = rows[rows["position"].isin(positions)]
    return rows, np.searchsorted(positions, rows["position"].to_numpy(dtype=np.int64))


def _images(store: CorruptionStore, identity: str, positions: npt.NDArray[np.int64]) -> CellImages:
    rows, place = _placed(store, identity, positions)
    texts = [np.full(len(positions), "", dtype=object) for _ in _NAMES]
    for name, found in zip(_NAMES, texts, strict=True):
        found[place] = rows[name].to_numpy(dtype=object)
    return CellImages(*texts)


def _status(result: CorruptionResult | None, damage: str, lacking: bool) -> tuple[CorruptedStatus, str]:
    if damage:
        return "error", damage
    if result is None:
        return "missing", "not evaluated yet"
    if result.status == "done" and lacking:
        return "partial", "samples that the suite asks for now have no row"
    return result.status, result.reason
