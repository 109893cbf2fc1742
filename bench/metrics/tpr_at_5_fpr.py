"""True positive rate of a detector where it rejects 5 % of the clean images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def tpr_at_5_fpr(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of the attacked samples above the lowest threshold that at most 5 % of the clean images exceed.

    The threshold is chosen on these images, whatever the detector's own is, so that detectors can be compared. Positives
    are the clean-correct samples whose judged point isn't the clean image, which n counts; the threshold is over all clean
    images. The percentile bootstrap interval draws whole images and chooses the threshold anew each time. ``None`` without
    a detector, and where nothing was attacked.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    margins = columns.margins(rows)
    if margins is None:
        return Estimate(value=None, n=0)
    order = np.lexsort((margins.attacked, margins.judged, margins.clean))[::-1]  # the order of the rows doesn't matter
    clean, judged, attacked = margins.clean[order], margins.judged[order], margins.attacked[order]
    allowed = len(rows) // 20

    def rate(drawn: npt.NDArray[np.int64]) -> float:
        threshold = clean[np.searchsorted(np.cumsum(drawn), allowed, side="right")]
        weights = drawn[attacked]
        return float(weights[judged[attacked] > threshold].sum() / weights.sum()) if weights.any() else np.nan

    return estimates.bootstrap(len(rows), rate, counted=int(attacked.sum()))
