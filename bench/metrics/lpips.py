"""LPIPS of the judged points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def lpips(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The mean LPIPS distance of the judged points from the clean images (Zhang et al. 2018, arXiv:1801.03924).

    With a bootstrap interval over the samples that have a value, which n counts. ``None`` without a purifier.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    return estimates.mean(columns.measured(rows, "lpips"))
