"""Forward passes per sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def forwards(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The mean number of forward passes that the cell spent on a sample.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    return estimates.mean(columns.numbers(rows, "forwards"))
