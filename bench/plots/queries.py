"""Attack success rate against the queries that a black-box attack has made for a sample, a panel per row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from bench.plots import passes
from bench.plots.panels import Look

if TYPE_CHECKING:
    import pandas as pd

_AXES = "queries per sample", "attack success rate (%)"
_NOTE = (
    "lower bounds, of the images that are right when clean ({images:,} in the first row); bands: 95 % interval over images; "
    "marker: the budget.\nLeft out: cells that build on a smaller eps, and those of search: strongest"
)


def draw(frame: pd.DataFrame, known: Mapping[str, Look]) -> Figure | None:
    """The figure of one threat model, or ``None`` where no attack counts its queries.

    Args:
        frame: :func:`bench.plots.staircases.queries`, of one threat model.
        known: how each series is drawn.
    """
    return passes.draw(frame, known, _AXES, _NOTE)
