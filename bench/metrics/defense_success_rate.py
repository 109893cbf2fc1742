"""Defense success rate: unbroken / clean-correct."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def defense_success_rate(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of the clean-correct samples of a defended model that the attack didn't break, with Wilson's interval.

    1 - attack success rate, behind a defense only: an upper bound, which forgives what the defense breaks on clean images (see
    ``clean_damage``). ``None`` without a defense.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    if columns.bare(rows) is None:
        return Estimate(value=None, n=0)
    return estimates.proportion(~columns.successes(rows)[columns.clean_correct(rows)])
