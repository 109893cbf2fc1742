"""One cell of a run, joined by sample: what it says of every image that the suite asks for now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.store.audit import Finding
from bench.store.joined import Samples
from bench.store.records import CellResult, Flag
from bench.suites.cells import Role

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
OutcomeStatus = Literal["done", "error", "unavailable", "partial", "missing"]
"""As in the records; ``partial`` where rows of current samples are missing, ``missing`` where there is no record."""


@dataclass(frozen=True, slots=True, eq=False)
class CellOutcome:
    """One cell over the N samples that the suite asks for now.

    Attributes:
        id: id of the cell.
        role: why the cell is there.
        attack: the attack's name in tables; of a transfer cell, with the model that the examples were made against.
        seed: the attack's seed.
        result: its record; ``None`` where it isn't finished.
        status: whether its number can be shown.
        reason: why it can't, in one line.
        samples: its verdicts by sample.
        findings: what the audit found of this cell.
        source: of a transfer cell, id of the model that the examples were made against; empty for others.
    """

    id: str
    role: Role
    attack: str
    seed: int
    result: CellResult | None
    status: OutcomeStatus
    reason: str
    samples: Samples
    findings: tuple[Finding, ...] = ()
    source: str = ""

    @property
    def known(self) -> BoolArray:
        """Which samples have a row, shape (N,)."""
        return self.samples.known

    @property
    def clean_correct(self) -> BoolArray:
        """Shape (N,); false where there is no row."""
        return self.samples.clean_correct

    @property
    def robust(self) -> BoolArray:
        """Shape (N,); true where there is no row, since nothing broke the sample there."""
        return self.samples.robust

    @property
    def clean_correctness(self) -> FloatArray:
        """Share of the draws in which the clean image is right, shape (N,); 0 where there is no row."""
        return self.samples.clean_correctness

    @property
    def correctness(self) -> FloatArray:
        """The same under attack, shape (N,); 1 where there is no row."""
        return self.samples.correctness

    @property
    def halves(self) -> FloatArray:
        """The same by the even and by the odd draws alone, shape (2, N)."""
        return self.samples.halves

    @property
    def certified_radius(self) -> FloatArray:
        """Within which the right class is certified, shape (N,); NaN in cells that certify nothing."""
        return self.samples.certified_radius

    @property
    def minimal_distance(self) -> FloatArray:
        """As in the records, shape (N,); NaN where there is no row."""
        return self.samples.minimal_distance

    @property
    def queries(self) -> FloatArray:
        """That a score- or decision-based attack broke each sample with, shape (N,); 0 where it didn't, NaN where nobody
        counted.
        """
        return self.samples.queries

    @property
    def passes(self) -> FloatArray:
        """Forward and backward passes together, shape (N,); NaN where there is no row."""
        return self.samples.passes

    @property
    def valid(self) -> bool:
        """Whether the cell is done and nothing marks it as invalid."""
        flags = () if self.result is None else self.result.flags
        marks: tuple[Flag | Finding, ...] = (*flags, *self.findings)
        return self.status == "done" and all(mark.severity != "invalid" for mark in marks)


def unbroken(cells: tuple[CellOutcome, ...]) -> BoolArray:
    """Which samples none of these cells broke, shape (N,)."""
    robust: BoolArray = np.logical_and.reduce([cell.robust for cell in cells])
    return robust


def least_correct(cells: tuple[CellOutcome, ...]) -> FloatArray:
    """Share of the draws that the worst of these cells leaves right, per sample, shape (N,).

    Which cell is the worst of a sample is chosen by one half of the scoring draws, and its share is that of the other half:
    the least of several noisy shares would lie below what any of the cells reaches.
    """
    clean = np.minimum.reduce([np.where(cell.known, cell.clean_correctness, 1.0) for cell in cells])
    return least([cell.correctness for cell in cells], [cell.halves for cell in cells], clean)


def least(shares: Sequence[FloatArray], halves: Sequence[FloatArray], clean: FloatArray) -> FloatArray:
    """The same from the columns of records, shape (N,).

    Args:
        shares: ``correctness`` of each cell, shape (N,).
        halves: ``even_correctness`` and ``odd_correctness`` of each cell, shape (2, N).
        clean: ``clean_correctness``, shape (N,), which no attack can raise.
    """
    if len(shares) == 1:
        return shares[0]
    even, odd = (np.stack([both[half] for both in halves]) for half in (0, 1))
    columns = np.arange(even.shape[1])
    chosen: FloatArray = (odd[even.argmin(0), columns] + even[odd.argmin(0), columns]) / 2
    return np.minimum(chosen, clean)
