"""Attack success rate: verified successes / clean-correct."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def attack_success_rate(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of the clean-correct images that the attack broke, with Wilson's interval; ``None`` over none.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    return estimates.proportion(columns.successes(rows)[columns.clean_correct(rows)])
