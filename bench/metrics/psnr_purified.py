"""PSNR of the purified judged points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def psnr_purified(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The mean peak signal-to-noise ratio of the purified judged points against the clean images, in dB.

    With a bootstrap interval over the samples that have a value, which n counts. Equal images have none and are left out.
    ``None`` without a purifier.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    return estimates.mean(columns.measured(rows, "psnr_purified"))
