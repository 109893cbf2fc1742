"""Robust accuracy against eps in one curve, from the smallest distances that minimum-norm attacks found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots import staircases
from bench.plots.panels import Look, distinct, explained, marked, shape, wrapped
from bench.plots.saving import COLOURS, DASHES, new_figure, plain
from bench.plots.staircases import CURVE, FIXED, UNION, Dashes, Step

if TYPE_CHECKING:
    import pandas as pd

_DETAILED = 6
"""Up to so many rows get a panel of their own with a curve per attack."""
_NAMES = 20
"""So many names stand below each other beside the curves."""
_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")
"""Yellow is too light for a line."""
_TAIL = 0.99
"""The axis ends where so many of the broken samples are; the last few would leave it empty."""


def draw(frame: pd.DataFrame, known: Mapping[str, Look]) -> Figure | None:
    """The figure of one norm, or ``None`` where no minimum-norm attack spent its whole budget.

    Above, every row; below, a small panel for each of few rows with a curve per attack, and the robust accuracies of the
    other attacks at their eps.

    Args:
        frame: :func:`bench.plots.staircases.distances`, of one norm.
        known: how each series is drawn.
    """
    steps = staircases.steps_of(frame)
    if not steps:
        return None
    rows = distinct(step.row for step in steps)
    details = rows if len(rows) == 1 or (len(rows) <= _DETAILED and _worth_it(steps)) else []
    grid = shape(len(details)) if details else None
    above = len(rows) > 1
    columns = grid.columns if grid else 1
    lines = grid.rows if grid else 0
    wide = 6.4 if columns == 1 else 4.0
    figure = new_figure(wide * columns + 0.8 * (columns == 1), 3.2 * (lines + above) + 0.9)
    cells = figure.add_gridspec(lines + above, columns)
    if above:
        _overview(figure.add_subplot(cells[0, :]), steps, rows)
    shown = {step.series for step in steps if step.kind != UNION}
    series = [name for name in known if name in shown]
    dashes = staircases.dashes_of([name for name in series if _is_curve(steps, name)])
    for index, row in enumerate(details):
        axis = figure.add_subplot(cells[above + index // columns, index % columns])
        _detail(axis, [step for step in steps if step.row == row], known, dashes)
        axis.set_title(_name(steps, row), loc="left")
    note = f"every curve is an upper bound; bands and whiskers: 95 % interval over {steps[0].images:,} images"
    figure.supxlabel(explained(note, any(step.flagged for step in steps)), fontsize=7.5)
    if details:
        staircases.legend(figure, _legend(series, known, dashes))
    return figure


def _name(steps: Sequence[Step], row: str) -> str:
    return marked(wrapped(row, width=44), any(step.row == row and step.flagged for step in steps))


def _worth_it(steps: Sequence[Step]) -> bool:
    """Whether rows have more to show than one curve."""
    return len({step.series for step in steps if step.kind != UNION}) > 1


def _is_curve(steps: Sequence[Step], series: str) -> bool:
    return any(step.series == series and step.kind == CURVE for step in steps)


def _end(steps: Sequence[Step]) -> float:
    """Where the axis ends: nearly all of what was found lies before, and every radius of the suite."""
    curves: dict[tuple[str, str], list[float]] = {}
    for step in steps:
        if step.kind == CURVE:
            curves.setdefault((step.row, step.series), []).append(step.x)
    tails = [float(np.quantile(places, _TAIL)) for places in curves.values()]
    return 1.06 * max([*tails, *(step.x for step in steps if step.kind == FIXED)])


def _axes(axis: Axes, norm: str, end: float) -> None:
    axis.grid(visible=True)
    axis.set_xlim(0, end or 1.0)
    axis.set_ylim(0, 100)
    axis.set_xlabel(f"eps ({norm.capitalize()}, images in [0, 1])")
    axis.set_ylabel("robust accuracy (%)")


def _overview(axis: Axes, steps: Sequence[Step], rows: Sequence[str]) -> None:
    """Every row: the worst case over its minimum-norm attacks."""
    end = _end(steps)
    _axes(axis, steps[0].panel, end)
    for index, row in enumerate(rows):
        look = Look(_LINES[index % len(_LINES)], "", "")
        own = [step for step in steps if step.row == row and step.kind == UNION]
        staircases.draw(axis, _to(own, end), look, DASHES[index // len(_LINES) % len(DASHES)])
        axis.lines[-1].set_label(_name(steps, row))
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), ncols=-(-len(rows) // _NAMES), borderaxespad=0)
    axis.set_title("worst case of every row over its minimum-norm attacks", loc="left")


def _detail(
    axis: Axes,
    steps: Sequence[Step],
    known: Mapping[str, Look],
    dashes: Mapping[str, Dashes],
) -> None:
    end = _end(steps)
    _axes(axis, steps[0].panel, end)
    for name, line in dashes.items():
        own = [step for step in steps if step.series == name and step.kind == CURVE]
        if own:
            staircases.draw(axis, _to(own, end), known[name], line)
    for step in steps:
        if step.kind == FIXED:
            look = known[step.series]
            colour = staircases.line_colour(look)
            axis.vlines(step.x, step.low, step.high, color=colour, linewidth=0.8, zorder=3)
            axis.plot(step.x, step.value, look.marker, color=colour, markersize=5.5, markeredgecolor="white",
                      markeredgewidth=0.4, zorder=4)  # fmt: skip


def _to(steps: Sequence[Step], end: float) -> list[Step]:
    """The curve up to the end of the axis: after its last step it goes on level."""
    shown = [step for step in steps if step.x < end]
    return [*shown, shown[-1]._replace(x=end)]


def _legend(series: Sequence[str], known: Mapping[str, Look], dashes: Mapping[str, Dashes]) -> list[Line2D]:
    lines = [
        Line2D(
            [], [], color=staircases.line_colour(known[name]), linestyle=dashes[name], linewidth=1.6, label=plain(name)
        )
        for name in series
        if name in dashes
    ]
    marks = [
        Line2D([], [], color=staircases.line_colour(known[name]), linestyle="", marker=known[name].marker, markersize=5,
               label=f"{plain(name)} at its eps")
        for name in series
        if name not in dashes
    ]  # fmt: skip
    return lines + marks
