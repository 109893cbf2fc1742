"""Detection rate: rejected / attacked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def detection_rate(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of the attacked samples whose judged point the detector rejects, with Wilson's interval.

    Attacked are the clean-correct samples (their clean image is accepted, too) whose judged point isn't the clean image. An
    attack that failed counts as well: this says how often the detector fires on what an attack returns, not how often it
    saves a prediction. ``None`` without a detector, and where nothing was attacked.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    margins = columns.margins(rows)
    if margins is None:
        return Estimate(value=None, n=0)
    return estimates.proportion(columns.flags(rows, "rejected")[margins.attacked])
