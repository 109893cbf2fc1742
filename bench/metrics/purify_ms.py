"""Time that the purifier takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def purify_ms(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The mean milliseconds that the purifier took for a judged point, its share of the batch, with a bootstrap interval.

    It depends on the machine and the batch size, as no other metric does. ``None`` without a purifier.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    seconds = columns.measured(rows, "purify_seconds")
    if (seconds < 0).any():
        raise ValueError(f"column purify_seconds must hold numbers of at least 0, got {seconds.min()}")
    return estimates.mean(1000 * seconds)
