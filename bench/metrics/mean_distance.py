"""Mean distance of the verified successes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def mean_distance(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The mean distance of the verified successes, as judged; ``None`` where there are none.

    Under a fixed-eps attack this is close to eps by construction; it says something under a minimum-norm attack.

    Args:
        rows: one row per sample of a cell.
        norm: norm of the threat model, whose distance is taken.
    """
    return estimates.mean(columns.numbers(rows, norm)[columns.successes(rows)])
