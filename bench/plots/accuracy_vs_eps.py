"""Accuracy against the radius, where a suite has several of one norm; every curve starts at the clean accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.frames import CLEAN, WORST, Point
from bench.plots.frames import points as lines
from bench.plots.labels import spread
from bench.plots.panels import WHITE, Look, distinct, eps_axis, explained, footnote, looks, marked, wrapped
from bench.plots.saving import COLOURS, DASHES, GREY, INK, MARKERS, new_figure, plain

if TYPE_CHECKING:
    import pandas as pd

_DETAILED = 6
"""Up to so many rows get a panel of their own with a curve per attack."""
_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")
"""Yellow is too light for a line."""
_NAME = 0.135
"""Inches that a name beside a curve takes in height."""
_DETAIL = 2.9
"""Height of a small panel in inches."""
_COLUMNS = 3
_ONE_LINE = 7.5
"""Width in inches that holds the note below the figure in one line."""


def draw(frame: pd.DataFrame) -> Figure | None:
    """The figure, or ``None`` where no norm has several radii.

    Above, the worst case of every row; below, a small panel for each of few rows with a curve per attack.

    Args:
        frame: :func:`bench.plots.frames.accuracy`.
    """
    points = [point for point in lines(frame) if point.known]
    norms = [norm for norm in distinct(frame["norm"]) if len(_radii(points, norm)) >= 2]
    if not norms:
        return None
    details = {norm: _detailed(points, norm) for norm in norms}
    tall = {norm: max(3.2, _NAME * len(_rows(points, norm)) + 0.9) for norm in norms}
    heights = [h for norm in norms for h in (tall[norm], *[_DETAIL] * -(-len(details[norm]) // _COLUMNS))]
    wide = 3.4 if any(details.values()) else 2.6
    names = 0.062 * max(len(marked(point.row, point.flagged)) for point in points) + 0.4
    widths = [wide, wide, max(wide, names) if any(details.values()) else names]
    figure = new_figure(sum(widths), sum(heights) + 0.8)
    cells = figure.add_gridspec(len(heights), _COLUMNS, height_ratios=heights, width_ratios=widths)
    known, line = looks(points), 0
    for norm in norms:
        own = [point for point in points if point.norm == norm]
        _worst_cases(figure.add_subplot(cells[line, : _COLUMNS - 1]), own, gap=100 * _NAME / (tall[norm] - 0.9))
        line += 1
        for index, row in enumerate(details[norm]):
            axis = figure.add_subplot(cells[line + index // _COLUMNS, index % _COLUMNS])
            _attacks(axis, own, row, known)
        line += -(-len(details[norm]) // _COLUMNS)
    note = f"at eps 0: clean accuracy; else robust accuracy, {footnote(points)}"
    note = note if sum(widths) >= _ONE_LINE else note.replace("; whiskers", ";\nwhiskers")
    hollow = "\nhollow: at most that, not complete or invalid" if any(p.status == "bound" for p in points) else ""
    figure.supxlabel(explained(note + hollow, any(point.flagged for point in points)), fontsize=8.5)
    if any(details.values()):
        figure.legend(handles=_legend(known), loc="outside upper left", ncols=6)
    return figure


def _radii(points: Sequence[Point], norm: str) -> set[float]:
    return {point.eps for point in points if point.norm == norm and point.kind == WORST}


def _rows(points: Sequence[Point], norm: str) -> list[str]:
    return distinct(point.row for point in points if point.norm == norm and point.kind == WORST)


def _detailed(points: Sequence[Point], norm: str) -> list[str]:
    """The rows that get a small panel: all, where there are few, and several series to tell apart."""
    rows = _rows(points, norm)
    series = {point.series for point in points if point.norm == norm and point.kind not in (CLEAN, WORST)}
    return rows if len(rows) <= _DETAILED and len(series) > 1 else []


def _axes(axis: Axes, points: Sequence[Point], apart: float) -> None:
    """Scales and names of the axes; ticks are left out that would stand nearer than ``apart``, a share of the width."""
    eps_axis(axis, points[0].norm, [point.eps for point in points], apart)
    axis.set_ylim(0, 100)
    axis.set_ylabel("accuracy (%)")


def _worst_cases(axis: Axes, points: Sequence[Point], gap: float) -> None:
    """The worst case of every row, its name at the right end of its curve."""
    _axes(axis, points, apart=0.09)
    ends = []
    for index, row in enumerate(_rows(points, points[0].norm)):
        look = Look(_LINES[index % len(_LINES)], "", MARKERS[index % len(MARKERS)])
        curve = _curve(points, row, WORST)
        _draw(axis, curve, look, DASHES[index // len(_LINES) % len(DASHES)])
        ends.append((curve[-1], look.colour))
    heights = spread([end.value for end, _ in ends], gap)
    over, under = max(heights) + gap / 2 - 100, gap / 2 - min(heights)
    shift = -over if over > 0 else max(under, 0.0)
    last = max(point.eps for point in points)
    for (end, colour), height in zip(ends, heights, strict=True):
        # A curve that ends early gets a pale dotted line to its name, so that nobody reads a value off it.
        early = end.eps < last
        name = plain(marked(end.row, _flagged(points, end.row)))
        text = axis.annotate(
            name, (end.eps, end.value), (1.05, (height + shift) / 100), textcoords="axes fraction",
            va="center", fontsize=7, color=INK, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": GREY if early else colour, "linewidth": 0.7, "shrinkA": 1,
                        "shrinkB": 3, "relpos": (0, 0.5), "linestyle": ":" if early else "-"},
        )  # fmt: skip
        text.set_in_layout(False)  # the third column is left free for the names
    axis.set_title(f"{points[0].norm.capitalize()}: worst case of every row", loc="left")


def _attacks(axis: Axes, points: Sequence[Point], row: str, known: dict[str, Look]) -> None:
    """Every series of one row; the worst case lies below, so that the attack that makes it is seen."""
    _axes(axis, points, apart=0.16)
    for index, (series, look) in enumerate(known.items()):
        curve = _curve(points, row, series)
        if len(curve) > 1:
            _draw(axis, curve, _dark(look), _dashes(index, series), wide=series == WORST)
    axis.set_title(marked(wrapped(row, width=44), _flagged(points, row)), loc="left")


def _flagged(points: Sequence[Point], row: str) -> bool:
    """Whether a row is flagged at some radius of these points."""
    return any(point.row == row and point.flagged for point in points)


def _curve(points: Sequence[Point], row: str, series: str) -> list[Point]:
    """The clean accuracy at eps 0, then the series by eps."""
    own = sorted((p for p in points if p.row == row and p.series == series), key=lambda point: point.eps)
    clean = [point for point in points if point.row == row and point.kind == CLEAN]
    return [*(point._replace(eps=0.0) for point in clean[:1]), *own]


def _draw(
    axis: Axes, curve: Sequence[Point], look: Look, dashes: tuple[int, tuple[float, ...]], *, wide: bool = False
) -> None:
    eps, values = [point.eps for point in curve], [point.value for point in curve]
    axis.plot(
        eps, values, color=look.colour, linestyle=dashes, linewidth=2.6 if wide else 1.2, marker=look.marker,
        markersize=6 if wide else 4, markeredgecolor="white", markeredgewidth=0.4, zorder=2 if wide else 3,
    )  # fmt: skip
    for point in curve:
        if point.status == "bound":
            axis.plot(point.eps, point.value, look.marker, color=WHITE, markeredgecolor=look.colour, markeredgewidth=1.0,
                      markersize=6 if wide else 4, zorder=3.5)  # fmt: skip
    sure = [point for point in curve if point.sure]
    axis.vlines([p.eps for p in sure], [p.low for p in sure], [p.high for p in sure], color=look.colour, linewidth=0.8)


def _dark(look: Look) -> Look:
    """A series that is drawn as a white bar needs another colour as a line."""
    return look._replace(colour=GREY) if look.colour == WHITE else look


def _dashes(index: int, series: str) -> tuple[int, tuple[float, ...]]:
    return DASHES[0] if series == WORST else DASHES[1 + index % 3]


def _legend(known: dict[str, Look]) -> list[Line2D]:
    return [
        Line2D([], [], color=_dark(look).colour, marker=look.marker, markersize=4, label=plain(series),
               linewidth=2.6 if series == WORST else 1.2, linestyle=_dashes(index, series))
        for index, (series, look) in enumerate(known.items())
    ]  # fmt: skip
