"""What the rules look at: the rows of a run, what probes saw of them, and what the verifier says of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bench import registry
from bench.stats import BoolArray, mcnemar_greater
from bench.store.cell_outcome import CellOutcome, unbroken
from bench.store.outcomes import RowOutcome, RunOutcome, address
from bench.store.probes import ProbeResult, RowProbes
from bench.store.run_directory import RunDirectory
from bench.suites.spec import ThreatModelSpec

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.01
"""Level of every one-sided paired test."""
MATERIAL = 0.005
"""A difference below this share of the images is none, however significant it is."""
REFUTED = 0.10
"""A probe that leaves so much less of the subset than the row's number refutes the number."""

_COLUMNS = ("position", "label", "success", "stage")


class CannotCheck(Exception):  # noqa: N818 (what a rule says of a row, no error)
    """A rule can't look at something; the message says why."""


class NotMeant(Exception):  # noqa: N818 (as above)
    """A rule doesn't speak of something: a rule on defenses, of a bare model."""


class Comparison(NamedTuple):
    """Two sets of broken images, paired by image."""

    p: float
    """one-sided: that the first breaks no more than the second"""
    only_first: int
    only_second: int
    share: float
    """by how much more the first breaks, as a share of all images"""

    @property
    def greater(self) -> bool:
        """Whether the first breaks significantly and materially more."""
        return self.p < ALPHA and self.share >= MATERIAL


def compared(first: BoolArray, second: BoolArray) -> Comparison:
    """Whether the first set of broken images is larger than chance makes it.

    Args:
        first: which images one attack broke, shape (N,).
        second: which another broke.
    """
    more, less = int((first & ~second).sum()), int((second & ~first).sum())
    return Comparison(mcnemar_greater(first, second), more, less, (more - less) / max(1, len(first)))


class FileProblem(NamedTuple):
    """Something that the verifier refuses."""

    kind: str
    cell: str
    """id, or empty where it speaks of the whole run"""
    number: int
    """of samples"""
    message: str


class Rounding(NamedTuple):
    """What is left of a cell's successes when their images are rounded to 8 bits."""

    successes: int
    left: int


@dataclass(frozen=True, slots=True)
class Verified:
    """What the verifier says.

    Attributes:
        problems: what it refuses.
        hairline: by cell, verdicts that disagree or hang on a margin of nearly 0.
        rounding: by cell.
        failed: why it couldn't be run at all; empty where it could.
    """

    problems: tuple[FileProblem, ...] = ()
    hairline: Mapping[str, int] = field(default_factory=dict)
    rounding: Mapping[str, Rounding] = field(default_factory=dict)
    failed: str = ""


class RowEvidence:
    """One row, and what its probes saw.

    Args:
        row: its cells, without what an earlier audit found.
        probes: what they saw; ``None`` where there are none.
        without: why there are none.
        positions: of all samples that the suite asks for, sorted, shape (N,).
        run: the run's directory, for the columns that an outcome doesn't hold.
    """

    def __init__(
        self,
        row: RowOutcome,
        probes: RowProbes | None,
        without: str,
        positions: npt.NDArray[np.int64],
        run: RunDirectory,
    ) -> None:
        self.bare: RowEvidence | None = None
        """the same model without a defense, where the run has it; ``None`` for a bare row"""
        self.row, self.probes, self._without, self._run, self._positions = row, probes, without, run, positions
        chosen = () if probes is None else probes.positions
        self._subset = np.searchsorted(positions, np.array(chosen, dtype=np.int64))
        self._frames: dict[str, pd.DataFrame] = {}

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.row.label} | {self.row.threat_model.label}"

    @property
    def white_box(self) -> tuple[CellOutcome, ...]:
        """The suite's finished cells that take gradients, ensembles included."""
        return tuple(cell for cell in self.done("suite") if kind(cell) in ("white-box", "ensemble"))

    @property
    def black_box(self) -> tuple[CellOutcome, ...]:
        """Finished cells that take none."""
        return (*(cell for cell in self.done("suite") if kind(cell) == "score"), *self.done("gradient_free"))

    def done(self, role: str) -> tuple[CellOutcome, ...]:
        """The finished cells of a role."""
        return tuple(cell for cell in self.row.cells if cell.role == role and cell.status == "done")

    def frame(self, cell: CellOutcome) -> pd.DataFrame:
        """All rows of a cell, with the columns that rules look at."""
        if cell.id not in self._frames:
            self._frames[cell.id] = self._run.read_samples(cell.id, _COLUMNS)
        return self._frames[cell.id]

    @cached_property
    def by_gradient(self) -> BoolArray:
        """Which images a white-box attack broke, shape (N,): without those that only an ensemble's Square stage did.

        Raises:
            CannotCheck: where no white-box cell is finished.
        """
        if not self.white_box:
            raise CannotCheck("no white-box attack is finished")
        broken: BoolArray = np.logical_or.reduce([self._by_gradient(cell) for cell in self.white_box])
        return broken

    def _by_gradient(self, cell: CellOutcome) -> BoolArray:
        broken: BoolArray = cell.clean_correct & ~cell.robust
        if kind(cell) != "ensemble":
            return broken
        return broken & ~self.by_stage(cell, "square")

    def by_stage(self, cell: CellOutcome, stage: str) -> BoolArray:
        """Which images one stage of an ensemble broke, shape (N,)."""
        rows = self.frame(cell)
        names = rows["stage"].astype(str)
        broke = rows["success"].astype(bool) & ((names == stage) | names.str.endswith(f"/{stage}"))
        return np.isin(self._positions, rows["position"][broke].to_numpy(dtype=np.int64))

    @cached_property
    def worst(self) -> BoolArray:
        """Which images some cell of the row broke, shape (N,)."""
        broken: BoolArray = self.row.clean_correct & ~unbroken(self.row.attacked)
        return broken

    @property
    def exhausted(self) -> bool:
        """Whether every image is broken, in every draw of a stochastic defense: no attack could lower the number."""
        return bool(self.row.attacked) and not self.row.worst_correctness.any()

    # -- the subset ------------------------------------------------------------------------------------------------

    def on_subset(self, broken: BoolArray) -> BoolArray:
        """The same for the samples that the probes attacked, shape (n,)."""
        chosen: BoolArray = broken[self._subset]
        return chosen

    @property
    def correct(self) -> BoolArray:
        """Which samples of the subset are right when clean, shape (n,)."""
        return np.array(self.probed.clean_correct, dtype=bool)

    @property
    def commonest(self) -> float:
        """Share of the subset that has its commonest label: more is nobody right of who always answers the same.

        Raises:
            CannotCheck: where no cell of the suite is finished.
        """
        if not self.done("suite"):
            raise CannotCheck("no attack of the suite is finished")
        rows = self.frame(self.done("suite")[0])
        labels = rows["label"][rows["position"].isin(self._positions[self._subset])]
        return float(labels.value_counts(normalize=True).max())

    @property
    def probed(self) -> RowProbes:
        """What the probes saw.

        Raises:
            CannotCheck: where there are none.
        """
        if self.probes is None:
            raise CannotCheck(self._without)
        return self.probes

    @property
    def lacking(self) -> str:
        """Why there are no probes; empty where there are."""
        return self._without if self.probes is None else ""

    def probe(self, name: str) -> ProbeResult:
        """One probe.

        Raises:
            CannotCheck: where it wasn't run, or failed.
        """
        found = self.probed.probes.get(name)
        if found is None:
            raise CannotCheck(f"there is no probe {name} under this norm")
        if found.failed:
            raise CannotCheck(f"the probe {name} failed: {found.failed}")
        return found

    def broken(self, name: str) -> BoolArray:
        """Which samples of the subset a probe broke, shape (n,).

        Raises:
            CannotCheck: where it wasn't run, or failed.
        """
        return np.array(self.probe(name).broken, dtype=bool)

    def refuted(self, broken: BoolArray) -> bool:
        """Whether what a probe broke leaves the row's number far too high."""
        more = compared(broken | self.on_subset(self.worst), self.on_subset(self.worst))
        return more.greater and more.share >= REFUTED


@dataclass(frozen=True, slots=True)
class TableEvidence:
    """All rows of one threat model."""

    threat_model: ThreatModelSpec
    rows: tuple[RowEvidence, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything.

    Attributes:
        run: the run's directory.
        outcome: its rows, without what an earlier audit found.
        rows: the same with their probes.
        verified: what the verifier says.
    """

    run: RunDirectory
    outcome: RunOutcome
    rows: tuple[RowEvidence, ...]
    verified: Verified

    @property
    def tables(self) -> tuple[TableEvidence, ...]:
        """By threat model."""
        return tuple(
            TableEvidence(one, tuple(row for row in self.rows if row.row.threat_model == one))
            for one in self.outcome.threat_models
        )


Place = tuple[str, str, str]
"""Model, defense and threat model of a row."""


def gather(
    run: RunDirectory,
    outcome: RunOutcome,
    probes: Mapping[Place, RowProbes],
    without: Mapping[Place, str],
    verified: Verified,
) -> Evidence:
    """What the rules look at.

    Args:
        run: the run's directory.
        outcome: its rows, without what an earlier audit found.
        probes: by row.
        without: by row, why there are none.
        verified: what the verifier says.
    """
    rows, positions = [], np.array(outcome.positions, dtype=np.int64)
    for row in outcome.rows:
        place = (row.model, row.defense, address(row.threat_model))
        reason = without.get(place, "no probe was run")
        rows.append(RowEvidence(row, probes.get(place), reason, positions, run))
    bare = {(one.row.model, one.row.threat_model): one for one in rows if one.row.bare}
    for one in rows:
        one.bare = None if one.row.bare else bare.get((one.row.model, one.row.threat_model))
    return Evidence(run, outcome, tuple(rows), verified)


def kind(cell: CellOutcome) -> str:
    """What the table of attacks says: ``white-box``, ``ensemble``, ``score``; ``white-box`` of attacks that aren't in it."""
    if cell.result is None:
        return ""
    entry = registry.attacks.entries().get(cell.result.attack.name)
    return "white-box" if entry is None else str(entry.facts.get("kind", "white-box"))
