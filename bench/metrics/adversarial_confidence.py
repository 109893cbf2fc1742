"""Confidence on the adversarial examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def adversarial_confidence(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The mean softmax probability of the wrong class on the verified successes; ``None`` where there are none.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    return estimates.mean(columns.probabilities(rows, "adversarial_confidence")[columns.successes(rows)])
