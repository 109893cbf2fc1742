"""What the corruption cells of a run say, joined by sample: how often each (model, defense) is right on each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bench.errors import SchemaError, StoreError
from bench.store.audit import Finding
from bench.store.corrupted import CorruptionResult, CorruptionStore
from bench.store.records import RunRecord
from bench.store.run_directory import RunDirectory
from bench.suites.corruption_cells import CorruptionCell, expand_corruptions

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
CorruptedStatus = Literal["done", "error", "unavailable", "partial", "missing"]
_NAMES = ("sample_id", "sample_digest", "corrupted_digest")


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
        sample_ids: the id of each sample; empty where there is no row.
        sample_digests: of each clean image, as attack cells have it; likewise.
        corrupted_digests: of each corrupted image; likewise.
    """

    id: str
    corruption: str
    severity: int
    status: CorruptedStatus
    reason: str
    result: CorruptionResult | None
    correctness: FloatArray
    clean_correctness: FloatArray
    sample_ids: tuple[str, ...] = ()
    sample_digests: tuple[str, ...] = ()
    corrupted_digests: tuple[str, ...] = ()

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
    cells = [cell for row in rows for cell in row.cells]
    ids = tuple(_first(cell.sample_ids[place] for cell in cells) for place in range(n))
    return ids, tuple(_first(cell.sample_digests[place] for cell in cells) for place in range(n))


def _first(texts: Iterable[str]) -> str:
    return next(filter(None, texts), "")


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
    names = {name: np.full(len(positions), "", dtype=object) for name in _NAMES}
    damage = f"the audit found: {refuted}" if refuted else ""
    try:
        rows = store.read(identity).rows
        rows = rows[rows["position"].isin(positions)]
        place = np.searchsorted(positions, rows["position"].to_numpy(dtype=np.int64))
        shares[place] = rows["correctness"].to_numpy(dtype=float)
        clean[place] = rows["clean_correctness"].to_numpy(dtype=float)
        for name, found in names.items():
            found[place] = rows[name].to_numpy(dtype=object)
    except SchemaError:
        raise
    except StoreError as error:
        damage = str(error)
    status, reason = _status(result, damage, bool(np.isnan(shares).any()))
    texts = (tuple(found.tolist()) for found in names.values())
    return CorruptedCell(identity, cell.corruption, cell.severity, status, reason, result, shares, clean, *texts)


def _status(result: CorruptionResult | None, damage: str, lacking: bool) -> tuple[CorruptedStatus, str]:
    if damage:
        return "error", damage
    if result is None:
        return "missing", "not evaluated yet"
    if result.status == "done" and lacking:
        return "partial", "samples that the suite asks for now have no row"
    return result.status, result.reason
