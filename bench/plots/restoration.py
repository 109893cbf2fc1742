"""The data frames of what a defense costs and gives: changes against the bare model, and labels given back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.plots.frames import flagged
from bench.stats import paired_difference
from bench.store.cell_outcome import FloatArray
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd

RATE = "label_restoration_rate"


class Change(NamedTuple):
    """What one defense changes under one threat model: a line of a frame. Changes are in percentage points."""

    threat_model: str
    model: str
    defense: str
    images: int
    status: str
    """``bound`` where the defended row isn't complete, so that ``robust`` is an upper bound of the change; else ``done``"""
    clean: float
    """clean accuracy behind the defense, over scoring draws where it is stochastic, less that of the bare model"""
    clean_low: float
    """end of the 95 % interval; NaN where there is none"""
    clean_high: float
    robust: float
    """the same of the worst case"""
    robust_low: float
    robust_high: float
    flagged: bool = False
    """whether something speaks against the numbers of the row, or of its bare model: :func:`bench.plots.frames.flagged`"""

    @property
    def sure(self) -> bool:
        """Whether the change of the worst case has an interval."""
        return bool(np.isfinite(self.robust_low))


class Restored(NamedTuple):
    """The label restoration rate of one defense at one eps: a line of a frame. Rates are in %."""

    norm: str
    eps: float
    model: str
    defense: str
    attack: str
    """the oblivious attack that leaves the lowest rate"""
    images: int
    """examples that fool the bare model"""
    value: float
    low: float
    """end of the 95 % interval; NaN where there is none"""
    high: float
    flagged: bool = False
    """whether something speaks against the row's numbers"""


def changes(outcome: RunOutcome) -> pd.DataFrame:
    """One line per defended row whose bare row is there and complete, with the fields of :class:`Change` as columns."""
    bare = {(row.threat_model, row.model): row for row in outcome.rows if row.bare}
    lines = [
        change
        for row in outcome.rows
        if not row.bare and (row.threat_model, row.model) in bare
        for change in _change(row, bare[row.threat_model, row.model])
    ]
    return _frame(Change._fields, lines)


def by_eps(outcome: RunOutcome) -> pd.DataFrame:
    """Lowest rate over the oblivious cells of each defended row, with the fields of :class:`Restored` as columns.

    Only cells that are done, valid and have the metric count.
    """
    lines = []
    for row in outcome.rows:
        rates = list(_rates(row))
        if rates:
            attack, rate = min(rates, key=lambda item: item[1].value or 0.0)
            value, low, high = (
                np.nan if number is None else 100 * number for number in (rate.value, rate.low, rate.high)
            )
            lines.append(
                Restored(
                    row.threat_model.norm, float(row.threat_model.eps), row.model, row.defense, attack, rate.n, value, low,
                    high, flagged(row),
                )
            )  # fmt: skip
    return _frame(Restored._fields, lines)


def changes_of(frame: pd.DataFrame) -> list[Change]:
    """The lines of a frame of changes."""
    return [Change(*line) for line in frame[list(Change._fields)].astype(object).itertuples(index=False)]


def restored_of(frame: pd.DataFrame) -> list[Restored]:
    """The lines of a frame of rates, by eps."""
    ordered = frame.sort_values("eps", kind="stable")[list(Restored._fields)]
    return [Restored(*line) for line in ordered.astype(object).itertuples(index=False)]


def _change(row: RowOutcome, bare: RowOutcome) -> Iterator[Change]:
    """A worst case of the bare model that is only a bound would leave the sign of the change open."""
    if not (bare.complete and row.known.all()):
        return
    robust = _paired(row.worst_correctness, bare.worst_correctness)
    if not row.complete:
        robust = (robust[0], np.nan, np.nan)
    yield Change(
        row.threat_model.label, row.model, row.defense, len(row.known), "done" if row.complete else "bound",
        *_paired(row.clean_correctness, bare.clean_correctness), *robust, flagged=flagged(row) or flagged(bare),
    )  # fmt: skip


def _paired(after: FloatArray, before: FloatArray) -> tuple[float, float, float]:
    """Mean difference in points, with its interval; a single image has none."""
    difference, interval = paired_difference(after, before)
    low, high = interval if len(after) > 1 else (np.nan, np.nan)
    return 100 * difference, 100 * low, 100 * high


def _rates(row: RowOutcome) -> Iterator[tuple[str, Estimate]]:
    for cell in row.of("oblivious"):
        rate = cell.result.metrics.get(RATE) if cell.valid and cell.result is not None else None
        if rate is not None and rate.value is not None:
            yield cell.attack, rate


def _frame(fields: Sequence[str], lines: Sequence[tuple[object, ...]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(lines, columns=list(fields))
