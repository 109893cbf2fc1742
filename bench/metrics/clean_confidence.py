"""Confidence on the clean images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def clean_confidence(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The mean softmax probability of the predicted class on the clean images, right or wrong.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    return estimates.mean(columns.probabilities(rows, "clean_confidence"))
