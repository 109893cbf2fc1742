"""Accuracy under common corruptions as one data frame, for ``corruptions.csv``: a line per row, corruption and severity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.metrics import estimates
from bench.store.outcomes import RunOutcome
from bench.store.records import Estimate

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "model", "defense", "corruption", "severity", "status", "accuracy", "low", "high", "clean", "images",
    "published_images", "cell",
)  # fmt: skip


def frame(outcome: RunOutcome) -> pd.DataFrame:
    """One line per (model, defense), corruption and severity; accuracies are shares in [0, 1], with 95 % intervals.

    ``published_images`` is false where a library made the images: then they can't be compared with published numbers. A
    number that can't be shown is empty.

    Args:
        outcome: the rows of a run.
    """
    import pandas as pd

    spec = outcome.record.suite.corruptions
    published = spec is not None and spec.path is not None
    lines = []
    for row in outcome.corrupted:
        for cell in row.cells:
            done = cell.status == "done"
            found = estimates.share(cell.correctness) if done else Estimate(value=None, n=0)
            clean = float(cell.clean_correctness.mean()) if done else None
            place = (row.model, row.defense, cell.corruption, cell.severity, cell.status)
            lines.append((*place, found.value, found.low, found.high, clean, found.n, published, cell.id))
    return pd.DataFrame(lines, columns=list(COLUMNS)).round(dict.fromkeys(("accuracy", "low", "high", "clean"), 10))
