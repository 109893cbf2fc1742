"""Certified accuracy against the radius as one data frame, for ``certified.csv``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.store.certified import certificates
from bench.store.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("model", "defense", "norm", "radius", "certified_accuracy", "low", "high", "bound")


def frame(outcome: RunOutcome) -> pd.DataFrame:
    """One line per radius beyond which a row's certified accuracy falls; accuracies are shares in [0, 1].

    Between two lines the lower one holds, and beyond a row's last line nothing is certified; where it falls at more than 200
    radii, there are lines at 200 even distances. ``low`` and ``high`` are the 95 % interval over images. ``bound`` says what
    the number is: a lower bound.

    Args:
        outcome: the rows of a run.
    """
    import pandas as pd

    lines = [
        (own.model, own.defense, own.norm, *certainty, "lower")
        for own in certificates(outcome)
        for certainty in own.at(own.places())
    ]
    found = pd.DataFrame(lines, columns=list(COLUMNS))
    return found.round({"certified_accuracy": 10, "low": 10, "high": 10})
