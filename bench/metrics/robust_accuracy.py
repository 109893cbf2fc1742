"""Robust accuracy: clean-correct and unbroken / all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def robust_accuracy(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of images that are clean-correct and that the attack did not break, with Wilson's interval.

    An upper bound: a stronger attack can only lower it. The interval covers the sampling of images only.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    return estimates.proportion(columns.robust(rows))
