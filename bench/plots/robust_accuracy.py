"""Robust accuracy of every model under every attack, with 95 % intervals; one panel per threat model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.plots.frames import CLEAN, WORST, Point
from bench.plots.frames import points as lines
from bench.plots.panels import FLAG, WHITE, Look, distinct, explained, footnote, looks, marked, shape, wrapped
from bench.plots.saving import GREY, INK, new_figure, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist

_BARS = 8
"""Up to so many rows are drawn as bars; more as points, which need less room."""
_SHORT = 2.0
"""Bars up to so many percent show no colour: their series and number stand beside them."""
_STATUS = {"error": "error", "unavailable": "n/a", "partial": "partial", "missing": "missing"}
_NAME = {True: 30, False: 46}
"""Characters in a line of a name, beside bars and beside points."""
_GAP = 0.9
"""Between two rows, in heights of a bar."""


class _Band(NamedTuple):
    """Where a row stands, and how many series it has; a series takes 1 in height."""

    name: str
    top: float
    series: int
    height: float


def draw(frame: pd.DataFrame) -> Figure | None:
    """The figure, or ``None`` where there is nothing to show.

    Args:
        frame: :func:`bench.plots.frames.accuracy`.
    """
    points = lines(frame)
    if not any(point.known for point in points):
        return None
    known, panels = looks(points), distinct(frame["threat_model"])
    rows = distinct(point.row for point in points)
    grid, bars = shape(len(panels)), len(rows) <= _BARS
    bands, everywhere = _bands(points, rows, bars=bars), _flagged_everywhere(points)
    unit = 0.17 if bars else 0.052
    height = unit * (bands[-1].top + bands[-1].height)
    figure = new_figure(
        (2.6 if bars else 3.2) + (4.4 if len(panels) == 1 else 3.0) * grid.columns, grid.rows * (height + 0.55) + 0.85
    )
    axes = figure.subplots(grid.rows, grid.columns, sharex=True, sharey=True, squeeze=False)
    for axis, threat_model in zip(axes.flat, panels, strict=False):
        own = [point for point in points if point.threat_model == threat_model]
        _panel(axis, own, bands, known, bars=bars, everywhere=everywhere)
        axis.set_title(threat_model, loc="left")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    axes[0, 0].set_yticks(
        [band.top + band.height / 2 for band in bands],
        [marked(wrapped(band.name, _NAME[bars]), band.name in everywhere) for band in bands],
    )
    axes[0, 0].set_ylim(bands[-1].top + bands[-1].height, 0)
    axes[0, 0].set_xlim(0, 100)
    flagged = any(point.flagged for point in points)
    figure.supxlabel(explained(f"robust accuracy (%), {footnote(points)}", flagged), fontsize=8.5)
    handles = _legend(known, bars=bars)
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 2 + 2 * grid.columns))
    return figure


def _flagged_everywhere(points: Sequence[Point]) -> set[str]:
    """The rows whose name has the flag: those that are flagged in every panel; others have it where they are."""
    rows = {point.row for point in points}
    return rows - {point.row for point in points if not point.flagged}


def _bands(points: Sequence[Point], rows: Sequence[str], *, bars: bool) -> list[_Band]:
    """Rows below each other, each as high as its series or its name need."""
    bands: list[_Band] = []
    top = 0.0
    for row in rows:
        series = len({point.series for point in points if point.row == row and point.kind != CLEAN})
        name = (wrapped(row, _NAME[bars]).count("\n") + 1) * (0.85 if bars else 2.6)
        bands.append(_Band(row, top, series, max(series, name) + _GAP))
        top += bands[-1].height
    return bands


def _panel(
    axis: Axes,
    points: Sequence[Point],
    bands: Sequence[_Band],
    known: dict[str, Look],
    *,
    bars: bool,
    everywhere: set[str],
) -> None:
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0)
    axis.tick_params(labelbottom=True)
    axis.spines["left"].set_visible(False)
    for index, band in enumerate(bands):
        if index % 2:
            axis.axhspan(band.top, band.top + band.height, color="#f5f5f5", zorder=0, linewidth=0)
        own = {point.series: point for point in points if point.row == band.name}
        place = band.top + (band.height - band.series) / 2
        for series, look in known.items():
            if series in own:
                _mark(axis, own[series], place + 0.5, look, bars=bars)
                place += 1
        if WORST in own and own[WORST].flagged and band.name not in everywhere:
            axis.annotate(FLAG, (1, place - 0.5), (3, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                          va="center", fontsize=7, color=INK)  # fmt: skip
        if CLEAN in own and own[CLEAN].known:
            ends = [band.top + 0.2, band.top + band.height - 0.2]
            axis.plot([own[CLEAN].value] * 2, ends, color=INK, linewidth=1.2, zorder=3, clip_on=False)


def _mark(axis: Axes, point: Point, y: float, look: Look, *, bars: bool) -> None:
    """One bar or point with its whisker; a word where there is no number."""
    if not point.known:
        if bars or point.kind == WORST:
            axis.text(1, y, _STATUS[point.status], va="center", fontsize=6.5, color=GREY, style="italic")
        return
    bound = point.status == "bound"
    face = WHITE if bound else look.colour
    if bars:
        edge = look.colour if bound and look.colour != WHITE else INK
        axis.barh(y, point.value, 0.92, color=face, edgecolor=edge, linewidth=1.0 if bound else 0.5, hatch=look.hatch,
                  zorder=2, linestyle="--" if bound else "-")  # fmt: skip
    else:
        size = 4.6 if point.kind == WORST else 4.0
        axis.plot(point.value, y, look.marker, color=face, markeredgecolor=INK, markeredgewidth=0.5, markersize=size)
    if point.sure:
        colour = GREY if look.colour == INK or not bars else INK  # seen on a dark bar, and beyond it
        axis.plot([point.low, point.high], [y, y], color=colour, linewidth=0.9, zorder=2.5 if bars else 1.5)
    if bars and point.value <= _SHORT:
        words = f"{plain(point.series)} {'≤ ' * bound}{point.value:.1f}"
        end = point.high if point.sure else point.value
        axis.annotate(words, (end, y), (4, 0), textcoords="offset points", va="center", fontsize=6.5, color=INK)
    elif bound:
        axis.annotate("≤", (point.value, y), (4, 0), textcoords="offset points", va="center", fontsize=7)


def _legend(known: dict[str, Look], *, bars: bool) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=INK, markeredgewidth=1.2, marker="|", linestyle="none", markersize=9, label=CLEAN)
    ]
    for series, look in known.items():
        text = plain(series)
        handles.append(
            Patch(facecolor=look.colour, edgecolor=INK, linewidth=0.5, hatch=look.hatch, label=text)
            if bars
            else Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", markersize=5, label=text,
                        markeredgecolor=INK, markeredgewidth=0.5)
        )  # fmt: skip
    return handles
