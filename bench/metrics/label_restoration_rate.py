"""Label restoration rate: labels that a defense gives back / examples that fool the bare model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import columns, estimates
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd


def label_restoration_rate(rows: pd.DataFrame, *, norm: str) -> Estimate:
    """The share of the examples against the bare model on which the defended model gives the label, with Wilson's interval.

    Counted are the samples whose clean image the bare model classifies right and whose judged point it doesn't; restored are
    those on which the defended model gives the label and accepts. Under the oblivious adversary these are the examples made
    against the bare model; under the adaptive one those that happen to fool it, too. ``None`` without a defense, and where
    nothing fools the bare model.

    Args:
        rows: one row per sample of a cell.
        norm: doesn't matter here.
    """
    bare = columns.bare(rows)
    if bare is None:
        return Estimate(value=None, n=0)
    given = (rows["adversarial_prediction"] == rows["label"]).to_numpy(dtype=bool) & ~columns.flags(rows, "rejected")
    return estimates.proportion(given[bare.clean_right & bare.fooled])
