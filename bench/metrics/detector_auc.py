"""Area under a detector's ROC curve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def detector_auc(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The probability that an attacked sample's margin lies above a clean image's; ties count half.

    Mann and Whitney's statistic (Hanley and McNeil 1982), of ``rejection_margin`` on the positives against
    ``clean_rejection_margin`` on the negatives. Positives are the clean-correct samples whose judged point isn't the clean
    image, which n counts; negatives are all clean images. A clean-correct image is an accepted one, so that an attack
    that hardly moves its points has an area below 1/2. The percentile bootstrap interval draws whole images, since a
    positive and a negative of one image are no independent pair; at 0 and 1 it has no width. ``None`` without a detector,
    and where nothing was attacked.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    margins = columns.margins(rows)
    if margins is None:
        return Estimate(value=None, n=0)
    order = np.lexsort((margins.attacked, margins.judged, margins.clean))  # the order of the rows doesn't matter
    negatives, positives = margins.clean[order], margins.judged[order]
    attacked = margins.attacked[order]
    below = np.searchsorted(negatives, positives[attacked], side="left")
    not_above = np.searchsorted(negatives, positives[attacked], side="right")

    def area(drawn: npt.NDArray[np.int64]) -> float:
        weights, total = drawn[attacked], np.concatenate([[0], np.cumsum(drawn)])
        pairs = int(weights.sum()) * int(total[-1])
        return float((weights * (total[below] + total[not_above])).sum() / 2 / pairs) if pairs else np.nan

    return estimates.bootstrap(len(rows), area, counted=int(attacked.sum()))
