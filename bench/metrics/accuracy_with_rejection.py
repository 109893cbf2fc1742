"""Accuracy with rejection: correct / accepted clean images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def accuracy_with_rejection(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of the accepted clean images that are correct, with Wilson's interval.

    A detector that rejects much raises it; read it beside ``false_positive_rate``. ``None`` without a detector, and where it
    rejects everything.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    if columns.margins(rows) is None:
        return Estimate(value=None, n=0)
    return estimates.proportion(columns.clean_correct(rows)[~columns.flags(rows, "clean_rejected")])
