"""False positive rate of a detector: clean images rejected / all images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def false_positive_rate(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of all clean images that the detector rejects, right or wrong, with Wilson's interval.

    ``None`` without a detector.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    if columns.margins(rows) is None:
        return Estimate(value=None, n=0)
    return estimates.proportion(columns.flags(rows, "clean_rejected"))
