"""Clean damage: clean predictions that a defense breaks / those that the bare model gets right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def clean_damage(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of the bare model's correct clean predictions that the defense breaks, with Wilson's interval.

    Broken is what isn't clean-correct behind the defense: misclassified or rejected. ``None`` without a defense, and where the
    bare model is never right.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    bare = columns.bare(rows)
    if bare is None:
        return Estimate(value=None, n=0)
    return estimates.proportion(~columns.clean_correct(rows)[bare.clean_right])
