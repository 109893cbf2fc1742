"""Median distance that a minimum-norm attack needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def median_minimal_distance(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The median over the clean-correct images of the distance at which a minimum-norm attack broke each.

    An upper bound: a stronger attack can only lower it. An image that was never broken counts as infinitely far; an
    infinite median, and an infinite end of the interval, is ``None``, with n above 0. With n = 0 there is nothing to
    compute it from: the attack looks at one eps only, or stopped at its first success (``search: first_success``).

    Args:
        rows: one row per sample of a cell.
        norm: norm of the threat model, in which the distances were taken.
    """
    distances = columns.minimal_distances(rows)
    return Estimate(value=None, n=0) if distances is None else estimates.median(distances[columns.clean_correct(rows)])
