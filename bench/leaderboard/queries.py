"""The attack success rate against the queries of black-box attacks as one data frame, for ``queries.csv``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.store.curves import query_curves
from bench.store.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("model", "defense", "attack", "threat_model", "queries", "attack_success_rate", "low", "high")


def frame(outcome: RunOutcome) -> pd.DataFrame:
    """One line per step of every curve, and one at its budget; rates are shares of the images that are right when clean.

    Between two lines of a curve the upper one holds; above 200 steps it is sampled at 200 even distances. ``low`` and
    ``high`` are the 95 % interval over images.

    Args:
        outcome: the rows of a run.
    """
    import pandas as pd

    lines = []
    for curve in query_curves(outcome):
        for level in curve.at(sorted({*curve.places(), curve.end})):
            shares = (1 - level.robust_accuracy, 1 - level.high, 1 - level.low)
            lines.append((curve.model, curve.defense, curve.attack, curve.threat_model.label, level.x, *shares))
    found = pd.DataFrame(lines, columns=list(COLUMNS))
    return found.round({"attack_success_rate": 10, "low": 10, "high": 10})
