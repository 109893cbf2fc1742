"""Clean accuracy: correct / all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def clean_accuracy(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of images that are correct without any attack, with Wilson's interval.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    return estimates.proportion(columns.clean_correct(rows))
