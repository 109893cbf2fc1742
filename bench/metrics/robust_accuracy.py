"""Robust accuracy: clean-correct and unbroken / all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def robust_accuracy(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of images that are clean-correct and that the attack did not break, with Wilson's interval.

    Behind a stochastic defense: the mean share of its scoring draws in which a judged point is correct or rejected, with a
    bootstrap interval. An upper bound: a stronger attack can only lower it. The interval covers the sampling of images only.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    robust, shares = columns.robust(rows), columns.correctness(rows, "correctness")
    return estimates.proportion(robust) if shares is None else estimates.mean(shares)
