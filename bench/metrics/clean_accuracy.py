"""Clean accuracy: correct / all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def clean_accuracy(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of images that are correct without any attack, with Wilson's interval.

    Behind a stochastic defense: the mean share of its scoring draws in which an image is correct, with a bootstrap interval.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    shares = columns.correctness(rows, "clean_correctness")
    return estimates.proportion(columns.clean_correct(rows)) if shares is None else estimates.mean(shares)
