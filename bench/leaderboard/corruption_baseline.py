"""What a baseline says of the rows under common corruptions: verdicts by corruption and severity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bench.digests import value_digest
from bench.leaderboard.cells import CORRUPTIONS
from bench.leaderboard.definitions import define, severities
from bench.leaderboard.records import Record
from bench.leaderboard.verdicts import Verdicts, verdicts_of
from bench.store.corruption_outcomes import CorruptedCell, CorruptedRow, CorruptedStatus, FloatArray, mean_correctness


class BaselineCorruption(Record):
    """One corruption at one severity."""

    status: CorruptedStatus
    definition: str
    """key in ``definitions`` of what made the images; empty where it isn't finished"""
    images: str
    """digest of the digests of the corrupted images; empty where it isn't done"""
    right: Verdicts | None
    """``None`` where it isn't done"""
    flags: dict[str, str] = {}
    """severity by rule: warnings, and what makes it invalid"""

    def same_images(self, other: BaselineCorruption) -> bool:
        """Whether both are of the same corrupted images, or of what the same libraries made of the same ones: those may
        differ in a last bit between machines.
        """
        return self.definition == other.definition or bool(self.images and self.images == other.images)


class BaselineCorrupted(Record):
    """One (model, defense) under common corruptions."""

    model: str
    defense: str
    definition: str
    """key of the defense in ``definitions``"""
    clean: Verdicts | None
    cells: dict[str, BaselineCorruption]
    """by corruption and severity: ``fog 3``"""

    @property
    def threat_model(self) -> str:
        """Stands where others have their threat model."""
        return CORRUPTIONS

    @property
    def label(self) -> str:
        """For people: the model, and the defense where there is one."""
        return self.model if self.defense == "none" else f"{self.model} + {self.defense}"

    @property
    def corruptions(self) -> dict[str, tuple[str, ...]]:
        """The names of the cells of each corruption."""
        kinds = dict.fromkeys(name.rpartition(" ")[0] for name in self.cells)
        return {kind: tuple(name for name in self.cells if name.rpartition(" ")[0] == kind) for kind in kinds}

    def mean(self, names: Iterable[str], n: int) -> FloatArray | None:
        """For each image the mean over corruptions of the mean over severities, shape (N,).

        Args:
            names: the cells that count.
            n: number of images.

        Returns:
            ``None`` where one of the cells is missing or not done.
        """
        shares: dict[str, list[FloatArray]] = {}
        for name in names:
            cell = self.cells.get(name)
            if cell is None or cell.right is None:
                return None
            shares.setdefault(name.rpartition(" ")[0], []).append(cell.right.outcomes(n))
        return mean_correctness(shares) if shares else None


def corrupted_rows(
    rows: Sequence[CorruptedRow],
    definitions: dict[str, dict[str, Any]],  # Any: JSON values
) -> tuple[BaselineCorrupted, ...]:
    """The rows of a run.

    Args:
        rows: as the store has them.
        definitions: by digest; what the rows need is added.
    """
    return tuple(_row(row, definitions) for row in rows)


def _row(row: CorruptedRow, definitions: dict[str, dict[str, Any]]) -> BaselineCorrupted:  # Any: JSON values
    result = next((cell.result for cell in row.cells if cell.result is not None), None)
    clean = row.clean_correctness
    return BaselineCorrupted(
        model=row.model,
        defense=row.defense,
        definition="" if result is None else define(result.defense.model_dump(mode="json"), definitions),
        clean=None if np.isnan(clean).any() else verdicts_of(clean),
        cells={f"{cell.corruption} {cell.severity}": _cell(cell, definitions) for cell in row.cells},
    )


def _cell(cell: CorruptedCell, definitions: dict[str, dict[str, Any]]) -> BaselineCorruption:  # Any: JSON values
    done = cell.status == "done"
    return BaselineCorruption(
        status=cell.status,
        definition="" if cell.result is None else define(cell.made_of, definitions),
        images=value_digest(cell.images().corrupted_digests.tolist()) if done else "",
        right=verdicts_of(cell.correctness) if done else None,
        flags=severities(() if cell.result is None else cell.result.flags),
    )
