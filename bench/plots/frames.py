"""The data frames that the plots are drawn from, and their lines with types."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.metrics import estimates
from bench.store.audit import Finding
from bench.store.cell_outcome import CellOutcome, FloatArray, least_correct
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.records import Flag

if TYPE_CHECKING:
    import pandas as pd

Image = npt.NDArray[np.float32]

CLEAN, WORST, GRADIENT_FREE, OBLIVIOUS = "clean", "worst case", "gradient-free", "oblivious"
_KINDS = {"suite": "attack", "gradient_free": GRADIENT_FREE, "oblivious": OBLIVIOUS}


class Point(NamedTuple):
    """One accuracy: a line of the frame of accuracies. Accuracies are in %."""

    threat_model: str
    norm: str
    eps: float
    row: str
    """the model, and the defense where there is one"""
    bare: bool
    order: int
    """place of the row by worst case under the first threat model"""
    images: int
    series: str
    """the attack's name, or what ``kind`` says"""
    kind: str
    """``attack``, ``clean``, ``gradient-free``, ``oblivious`` or ``worst case``"""
    status: str
    """that of the cells; ``bound`` where the number is only known to be at most ``value``"""
    value: float
    """NaN where there is no number"""
    low: float
    """end of the 95 % interval; NaN where there is none"""
    high: float
    flagged: bool = False
    """whether something speaks against the row's numbers: :func:`flagged`"""

    @property
    def known(self) -> bool:
        """Whether there is a number."""
        return bool(np.isfinite(self.value))

    @property
    def sure(self) -> bool:
        """Whether the number has an interval."""
        return bool(np.isfinite(self.low))


class Example(NamedTuple):
    """One broken sample: a line of the frame of a gallery."""

    row: str
    attack: str
    norm: str
    x: Image
    """the clean image, shape (C, H, W), in [0, 1]"""
    x_adv: Image
    """the adversarial example, the same shape"""
    clean_label: str
    clean_confidence: float
    adversarial_label: str
    """the row's prediction; that of the bare model, or nothing, where there is a purified image"""
    adversarial_confidence: float
    """NaN of the bare model's prediction"""
    linf: float
    l2: float
    purified: Image | None = None
    """what the row's purifier made of the adversarial example, the same shape"""
    purified_label: str = ""
    purified_confidence: float = float("nan")


def accuracy(outcome: RunOutcome) -> pd.DataFrame:
    """One line per threat model, row and series, with the fields of :class:`Point` as columns."""
    import pandas as pd

    order = {label: index for index, label in enumerate(_ordered(outcome))}
    lines = [
        Point(
            row.threat_model.label, row.threat_model.norm, float(row.threat_model.eps), row.label, row.bare,
            order[row.label], outcome.samples, series.series, series.kind, series.status, *_numbers(series), flagged(row),
        )
        for row in outcome.rows
        for series in _series(row)
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=list(Point._fields))


def points(frame: pd.DataFrame) -> list[Point]:
    """The lines of a frame of accuracies, rows in their order."""
    ordered = frame.sort_values("order", kind="stable")[list(Point._fields)]
    return [Point(*line) for line in ordered.astype(object).itertuples(index=False)]


def examples(frame: pd.DataFrame) -> list[Example]:
    """The lines of a frame of examples."""
    return [Example(*line) for line in frame[list(Example._fields)].astype(object).itertuples(index=False)]


def by_worst(rows: tuple[RowOutcome, ...]) -> list[RowOutcome]:
    """Complete rows by worst case, then the others, those of which nothing is known last."""
    return sorted(rows, key=lambda row: (not row.complete, not row.known.any(), -float(row.worst_correctness.sum())))


def flagged(row: RowOutcome) -> bool:
    """Whether a warning speaks of a row, or something makes it invalid or keeps it from being complete."""
    marks: list[Flag | Finding] = [*row.findings]
    for cell in row.cells:
        marks += [*cell.findings, *(() if cell.result is None else cell.result.flags)]
    return not row.complete or any(mark.severity != "info" for mark in marks)


class _Series(NamedTuple):
    series: str
    kind: str
    outcomes: FloatArray
    status: str


def _ordered(outcome: RunOutcome) -> list[str]:
    rows = [row for threat_model in outcome.threat_models for row in by_worst(outcome.under(threat_model))]
    return list(dict.fromkeys(row.label for row in rows))


def _series(row: RowOutcome) -> list[_Series]:
    groups: dict[tuple[str, str], list[CellOutcome]] = {}
    for role, kind in _KINDS.items():
        for cell in row.cells:
            if cell.role == role:
                groups.setdefault((cell.attack if kind == "attack" else kind, kind), []).append(cell)
    found = [_Series(CLEAN, CLEAN, row.clean_correctness, "done" if row.known.all() else "missing")]
    for (series, kind), cells in groups.items():
        found.append(_Series(series, kind, least_correct(tuple(cells)), _status(cells)))
    status = "done" if row.complete else ("bound" if row.known.any() else _status(list(row.cells)))
    return [*found, _Series(WORST, WORST, row.worst_correctness, status)]


def _status(cells: list[CellOutcome]) -> str:
    """What keeps the cells from having a number; ``bound`` where they have one that is invalid."""
    done = "done" if all(cell.valid for cell in cells) else "bound"
    return next((cell.status for cell in cells if cell.status != "done"), done)


def _numbers(series: _Series) -> tuple[float, float, float]:
    """Value and interval in %."""
    if series.status not in ("done", "bound"):
        return np.nan, np.nan, np.nan
    value = 100 * float(series.outcomes.mean())
    if series.status == "bound":
        return value, np.nan, np.nan
    found = estimates.share(series.outcomes)
    low, high = (value if end is None else 100 * end for end in (found.low, found.high))
    return value, low, high
