"""The numbers of the page's plots: those that the plots on disk are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.leaderboard.records import CorruptionTable
from bench.plots.frames import Point, accuracy, points
from bench.report.curves import Drawn, against_eps, against_severity
from bench.store.outcomes import RunOutcome

Told = dict[str, Any]  # Any: JSON values


def series(
    outcome: RunOutcome, spent: Sequence[Drawn], certain: Sequence[Drawn], corrupted: CorruptionTable | None
) -> Told:
    """Rows, threat models, every accuracy with its interval in %, and curves where there are any.

    Args:
        outcome: the records.
        spent: the curves against passes.
        certain: those of certificates.
        corrupted: the table under common corruptions.
    """
    found = points(accuracy(outcome))
    severities = [] if corrupted is None else against_severity(corrupted)
    rows = list(dict.fromkeys([*(point.row for point in found), *(curve.row for curve in severities)]))
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
        "curves": [_curve(curve, {"norm": curve.panel}, rows) for curve in against_eps(outcome)],
        "passes": [_curve(curve, {"ball": places[curve.panel]}, rows) for curve in spent],
        "certified": [_curve(curve, {"norm": curve.panel}, rows) for curve in certain],
        "severities": [_curve(curve, {}, rows) for curve in severities],
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


def _curve(drawn: Drawn, panel: Told, rows: list[str]) -> Told:
    """As the script reads it; ``marks`` where the curve is read."""
    marks = {"marks": drawn.marks} if drawn.marks else {}
    return {**panel, "row": rows.index(drawn.row), "name": drawn.name, "steps": drawn.steps, **marks}
