"""The curves of robust accuracy against eps as one data frame, for ``curves.csv``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.store.curves import distance_curves
from bench.store.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("model", "defense", "attack", "norm", "eps", "robust_accuracy", "low", "high", "bound")


def frame(outcome: RunOutcome) -> pd.DataFrame:
    """One line per step of every curve, and one at every radius of the suite; accuracies are shares in [0, 1].

    Between two lines of a curve the upper one holds; above 200 steps it is sampled at 200 even distances. ``low`` and
    ``high`` are the 95 % interval over images. ``bound`` says what the number is: an upper bound.

    Args:
        outcome: the rows of a run.
    """
    import pandas as pd

    lines = []
    for curve in distance_curves(outcome):
        norm = curve.threat_model.norm
        radii = {float(one.eps) for one in outcome.threat_models if one.norm == norm}
        for level in curve.at(sorted({*curve.places(), *radii})):
            lines.append((curve.model, curve.defense, curve.attack, norm, *level, "upper"))
    found = pd.DataFrame(lines, columns=list(COLUMNS))
    return found.round({"robust_accuracy": 10, "low": 10, "high": 10})
