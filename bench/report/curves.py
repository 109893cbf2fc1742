"""The page's curves: their steps and marks for the plots, and the same marks in tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.leaderboard.grid import Grid, percent
from bench.leaderboard.records import CorruptionTable
from bench.plots.frames import GRADIENT_FREE
from bench.report.tables import DASH, label
from bench.store.certified import certificates
from bench.store.curves import Curve, distance_curves, pass_curves, union
from bench.store.outcomes import RunOutcome

_DECADES = (1, 10, 100, 1_000, 10_000, 100_000)
"""Passes at which a curve is read; and where it ends."""
_FINEST = 1.03
"""Steps nearer together can't be told apart on an axis of passes, which is logarithmic."""

Mark = tuple[float, float, float, float]
"""Place, accuracy and its 95 % interval, in %."""


class Drawn(NamedTuple):
    """One curve.

    Attributes:
        panel: the norm, or the threat model.
        row: the model, and the defense where there is one.
        name: the attack's, or what the curve is.
        steps: places and accuracies in %: every step, or as many as one sees.
        marks: places where it is read.
        alpha: of certificates, the probability with which each may be wrong.
    """

    panel: str
    row: str
    name: str
    steps: tuple[tuple[float, float], ...]
    marks: tuple[Mark, ...] = ()
    alpha: float | None = None


def against_eps(outcome: RunOutcome) -> list[Drawn]:
    """Per norm and row the worst case over its minimum-norm attacks."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in distance_curves(outcome):
        groups.setdefault((curve.threat_model.norm, curve.label), []).append(curve)
    found = []
    for (norm, row), members in groups.items():
        whole = union(members, "worst case")
        found.append(Drawn(norm, row, whole.attack, _steps(whole.at(whole.places()), 6)))
    return found


def against_passes(outcome: RunOutcome) -> list[Drawn]:
    """Per threat model, row and attack, where attacks stop at their first success."""
    found = []
    for curve in pass_curves(outcome):
        name = GRADIENT_FREE if curve.role == "gradient_free" else curve.attack
        steps = _steps(curve.at(_seen(curve.places(len(curve.holds)))), 2)
        marks = _marks(curve.at([*(place for place in _DECADES if place < curve.end), curve.end]))
        found.append(Drawn(curve.threat_model.label, curve.label, name, steps, marks))
    return found


def certified(outcome: RunOutcome) -> list[Drawn]:
    """Per norm and row the share of images that are certified at a radius, read at the radii of the suite."""
    found = []
    for own in certificates(outcome):
        radii = sorted({float(one.eps) for one in outcome.threat_models if one.norm == own.norm})
        marks = _marks(own.at([0.0, *radii]))
        found.append(Drawn(own.norm, own.label, "certified", _steps(own.at(own.places()), 6), marks, own.alpha))
    return found


def against_severity(table: CorruptionTable) -> list[Drawn]:
    """Per row the mean over the corruptions, at the severities that all of them have; the clean images stand at 0."""
    found = []
    for row in table.rows:
        means = {0: row.clean, **row.by_severity}
        levels = [
            (float(place), one.value, one.low, one.high)
            for place, one in means.items()
            if one is not None and one.value is not None and one.low is not None and one.high is not None
        ]
        if len(levels) > 1:
            marks = _marks(levels)
            found.append(Drawn("", label(row), "corrupted", tuple(mark[:2] for mark in marks), marks))
    return found


def passes_grid(curves: Sequence[Drawn]) -> Grid:
    """A line per threat model, row and attack: what is left after so many passes, and after all."""
    places = [place for place in _DECADES if any(curve.marks[-1][0] > place for curve in curves)]
    heads = ["after 1 pass", *(f"{place:,} passes" for place in places[1:])][: len(places)]
    rows = []
    for curve in curves:
        *before, end = curve.marks
        left = [percent(mark[1] / 100) for mark in before]
        left += [""] * (len(places) - len(left))
        rows.append((curve.panel, curve.row, curve.name, *left, percent(end[1] / 100), _span(end), f"{end[0]:,.0f}"))
    headers = ("threat model", "row", "attack", *heads, "at the end", "95 %", "passes")
    return Grid(headers, ("left",) * 3 + ("right",) * (len(places) + 3), tuple(rows))


def certified_grid(curves: Sequence[Drawn], norm: str) -> Grid:
    """A line per row of one norm: the share that is certified at the radii of the suite, with its interval."""
    own = [curve for curve in curves if curve.panel == norm]
    heads = tuple(f"radius {mark[0]:.4g}" if mark[0] else "at any radius" for mark in own[0].marks)
    rows = [
        (
            curve.row,
            *(f"≥ {percent(mark[1] / 100)} ({_span(mark)})" for mark in curve.marks),
            DASH if curve.alpha is None else f"{curve.alpha:g}",
        )
        for curve in own
    ]
    return Grid(("row", *heads, "alpha"), ("left",) + ("right",) * (len(heads) + 1), tuple(rows))


def _span(mark: Mark) -> str:
    return f"{percent(mark[2] / 100)}{DASH}{percent(mark[3] / 100)}"


def _steps(levels: Iterable[tuple[float, float, float, float]], digits: int) -> tuple[tuple[float, float], ...]:
    return tuple((round(place, digits), round(100 * share, 4)) for place, share, _, _ in levels)


def _marks(levels: Iterable[tuple[float, float, float, float]]) -> tuple[Mark, ...]:
    return tuple(
        (round(x, 6), round(100 * y, 4), round(100 * low, 4), round(100 * high, 4)) for x, y, low, high in levels
    )


def _seen(places: Sequence[float]) -> list[float]:
    """Of places from 0 on, those far enough from the one before, and the last."""
    found = [places[0]]
    for place in places[1:]:
        if place > _FINEST * found[-1]:
            found.append(place)
    return found if found[-1] == places[-1] else [*found, places[-1]]
