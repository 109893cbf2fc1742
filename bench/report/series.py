"""The numbers of the page's plots: those that the plots on disk are drawn from."""

from __future__ import annotations

import math
from typing import Any

from bench.plots.frames import Point, accuracy, points
from bench.store.curves import distance_curves, union
from bench.store.outcomes import RunOutcome

Told = dict[str, Any]  # Any: JSON values


def series(outcome: RunOutcome) -> Told:
    """Rows, threat models, every accuracy with its interval in %, and curves against eps where there are any."""
    found = points(accuracy(outcome))
    rows = list(dict.fromkeys(point.row for point in found))
    flagged = {point.row for point in found if point.flagged}
    balls = [
        {"label": ball.label, "norm": ball.norm, "eps": float(ball.eps), "tick": ball.label.split(" ", 1)[-1]}
        for ball in outcome.threat_models
    ]
    places = {ball["label"]: place for place, ball in enumerate(balls)}
    return {
        "images": outcome.samples,
        "rows": [{"label": row, "flagged": row in flagged} for row in rows],
        "balls": balls,
        "names": list(dict.fromkeys(point.series for point in found)),
        "points": [_point(point, places[point.threat_model], rows.index(point.row)) for point in found],
        "curves": _curves(outcome, rows),
    }


def _point(point: Point, ball: int, row: int) -> list[object]:
    numbers = (point.value, point.low, point.high)
    return [
        ball,
        row,
        point.series,
        str(point.status),
        *(round(one, 4) if math.isfinite(one) else None for one in numbers),
    ]


def _curves(outcome: RunOutcome, rows: list[str]) -> list[Told]:
    """Per norm and row the worst case over its minimum-norm attacks, at every place where it steps."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for curve in distance_curves(outcome):
        groups.setdefault((curve.threat_model.norm, curve.label), []).append(curve)
    found = []
    for (norm, label), members in groups.items():
        whole = union(members, "worst case")
        steps = [[round(level.x, 6), round(100 * level.robust_accuracy, 4)] for level in whole.at(whole.places())]
        found.append({"norm": norm, "row": rows.index(label), "steps": steps})
    return found
