"""Curves that step: their data frames, and how one of them is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.frames import GRADIENT_FREE, Point
from bench.plots.panels import WHITE, Look
from bench.plots.saving import COLOURS, DASHES, GREY
from bench.store.curves import Curve, distance_curves, pass_curves, query_curves, union
from bench.store.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

NEAREST = "all of them"
"""The worst case over the minimum-norm attacks of a row."""
CURVE, FIXED, UNION = "curve", "fixed eps", "union"
Dashes: TypeAlias = tuple[int, tuple[float, ...]]
_HANDLE, _LETTER = 0.62, 0.068
"""Width in inches of a legend's line, and of a letter beside it."""
_MOST = 500
"""A curve that steps more often is sampled."""


class Step(NamedTuple):
    """One place of a curve, or one point beside the curves: a line of a frame. Accuracies are in %."""

    panel: str
    """the norm, or the threat model"""
    row: str
    order: int
    """place of the row by worst case"""
    series: str
    """the attack's name, or ``gradient-free``"""
    kind: str
    """``curve``; ``union`` for the worst case over a row's curves; ``fixed eps`` for a point"""
    x: float
    value: float
    low: float
    high: float
    images: int
    flagged: bool = False
    """whether something speaks against the row's numbers"""


def distances(outcome: RunOutcome, points: Sequence[Point]) -> pd.DataFrame:
    """Robust accuracy against eps, with the fields of :class:`Step` as columns.

    Args:
        outcome: the rows of a run.
        points: its accuracies; those of attacks without a curve, of the rows that have one, are kept as points.
    """
    order = {point.row: point.order for point in points}
    flagged = {(point.norm, point.row) for point in points if point.flagged}
    curves = distance_curves(outcome)
    rows: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves:
        rows.setdefault((curve.threat_model.norm, curve.label), []).append(curve)
    radii = [(one.norm, float(one.eps)) for one in outcome.threat_models]
    steps = []
    for (norm, row), own in rows.items():
        at = [eps for other, eps in radii if other == norm]
        for curve in own:
            steps += _steps(norm, order[row], curve.attack, CURVE, curve, at)
        steps += _steps(norm, order[row], NEAREST, UNION, union(own, NEAREST), at)
        names = {curve.attack for curve in own}
        steps += [
            Step(norm, row, point.order, point.series, FIXED, point.eps, point.value, point.low, point.high, point.images)
            for point in points
            if (point.norm, point.row) == (norm, row) and point.sure and point.series not in names
            and point.kind in ("attack", GRADIENT_FREE)
        ]  # fmt: skip
    return _frame([step._replace(flagged=(step.panel, step.row) in flagged) for step in steps])


def passes(outcome: RunOutcome, points: Sequence[Point]) -> pd.DataFrame:
    """Robust accuracy against passes per sample, with the fields of :class:`Step` as columns.

    Args:
        outcome: the rows of a run.
        points: its accuracies.
    """
    order = {point.row: point.order for point in points}
    flagged = {(point.threat_model, point.row) for point in points if point.flagged}
    steps = []
    for curve in pass_curves(outcome):
        series = GRADIENT_FREE if curve.role == "gradient_free" else curve.attack
        steps += _steps(curve.threat_model.label, order[curve.label], series, CURVE, curve, [curve.end])
    return _frame([step._replace(flagged=(step.panel, step.row) in flagged) for step in steps])


def queries(outcome: RunOutcome, points: Sequence[Point]) -> pd.DataFrame:
    """Attack success rate against queries per sample, with the fields of :class:`Step` as columns; images are correct ones.

    Args:
        outcome: the rows of a run.
        points: its accuracies.
    """
    order = {point.row: point.order for point in points}
    flagged = {(point.threat_model, point.row) for point in points if point.flagged}
    steps = []
    for curve in query_curves(outcome):
        series = GRADIENT_FREE if curve.role == "gradient_free" else curve.attack
        own = _steps(curve.threat_model.label, order[curve.label], series, CURVE, curve, [curve.end])
        steps += [step._replace(value=100 - step.value, low=100 - step.high, high=100 - step.low) for step in own]
    return _frame([step._replace(flagged=(step.panel, step.row) in flagged) for step in steps])


def steps_of(frame: pd.DataFrame) -> list[Step]:
    """The lines of a frame, rows in their order."""
    ordered = frame.sort_values("order", kind="stable")[list(Step._fields)]
    return [Step(*line) for line in ordered.astype(object).itertuples(index=False)]


def _steps(panel: str, order: int, series: str, kind: str, curve: Curve, more: Iterable[float]) -> list[Step]:
    places = sorted({*curve.places(_MOST), *more})
    return [
        Step(panel, curve.label, order, series, kind, level.x, 100 * level.robust_accuracy, 100 * level.low,
             100 * level.high, len(curve.holds))
        for level in curve.at(places)
    ]  # fmt: skip


def _frame(steps: Sequence[Step]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(steps, columns=list(Step._fields))


def draw(axis: Axes, steps: Sequence[Step], look: Look, dashes: Dashes) -> None:
    """One curve with its pale band, the 95 % interval.

    Args:
        axis: where.
        steps: the places of the curve, from left to right.
        look: its colour.
        dashes: its line.
    """
    x, colour = [step.x for step in steps], line_colour(look)
    low, high = [step.low for step in steps], [step.high for step in steps]
    axis.fill_between(x, low, high, step="post", color=colour, alpha=0.13, linewidth=0, zorder=1)
    axis.step(x, [step.value for step in steps], where="post", color=colour, linestyle=dashes, linewidth=1.4)


def line_colour(look: Look) -> str:
    """The colour of a series where it is a line: white can't be seen, and yellow hardly."""
    return {WHITE: GREY, COLOURS[6]: "#8a7a00"}.get(look.colour, look.colour)


def dashes_of(names: Sequence[str]) -> dict[str, Dashes]:
    """A line for each series, so that they are told apart in grey."""
    return {name: DASHES[index % len(DASHES)] for index, name in enumerate(names)}


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """The legend above all panels, in as many columns as the figure is wide for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = int(figure.get_figwidth() // (_HANDLE + _LETTER * longest))
    figure.legend(handles=list(handles), loc="outside upper left", ncols=max(1, columns))
