"""A number of every row over many nights; one panel per threat model, changes marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.panels import distinct, shape, wrapped
from bench.plots.saving import COLOURS, DASHES, GREY, INK, MARKERS, new_figure, plain

if TYPE_CHECKING:
    import pandas as pd

_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")
"""Yellow is too light for a line."""
_TICKS = 12
"""Up to so many nights have their name below the axis."""
_WHISKERS = 4
"""Up to so many rows of a panel have their intervals."""


def draw(frame: pd.DataFrame, number: str, note: str = "") -> Figure | None:
    """The figure, or ``None`` where there is no number.

    Args:
        frame: a line per row and night: ``night``, ``threat_model``, ``row``, ``value``, ``low`` and ``high`` in %, ``bound``,
            ``change``, ``anew`` (the line is broken before it) and ``difference``, nights in their order.
        number: what ``value`` is, for the axis.
        note: what the marks mean, for below the figure.
    """
    if not frame["value"].notna().any():
        return None
    panels, nights, rows = (distinct(frame[name]) for name in ("threat_model", "night", "row"))
    grid = shape(len(panels), most=2)
    wide = min(9.0, max(4.6, 1.6 + 0.25 * len(nights)))
    figure = new_figure(wide * grid.columns, 3.1 * grid.rows + 0.4 + 0.2 * len(rows))
    axes = figure.subplots(grid.rows, grid.columns, squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index >= len(panels):
            axis.set_axis_off()
            continue
        _panel(axis, frame[frame["threat_model"] == panels[index]], nights, rows)
        axis.set_title(plain(panels[index]), loc="left")
        axis.set_ylabel(plain(f"{number} (%)"))
    changed = bool((frame["change"] != "").any())
    figure.legend(handles=_legend(frame, rows, changed), loc="outside upper left", ncols=1 if len(rows) < 3 else 2)
    if note:
        figure.supxlabel(plain(note), fontsize=7.5)
    return figure


def _look(index: int) -> tuple[str, tuple[int, tuple[float, ...]], str]:
    return _LINES[index % len(_LINES)], DASHES[index // len(_LINES) % len(DASHES)], MARKERS[index % len(MARKERS)]


def _panel(axis: Axes, frame: pd.DataFrame, nights: Sequence[str], rows: Sequence[str]) -> None:
    axis.grid(visible=True)
    few = len(distinct(frame["row"])) <= _WHISKERS
    for index, row in enumerate(rows):
        own = frame[frame["row"] == row]
        if own.empty:
            continue
        at = np.array([nights.index(night) for night in own["night"]], dtype=float)
        value, low, high = (own[name].to_numpy(dtype=float) for name in ("value", "low", "high"))
        colour, dashes, marker = _look(index)
        for piece in np.split(np.arange(len(at)), np.flatnonzero(own["anew"])):
            axis.plot(
                at[piece],
                value[piece],
                color=colour,
                linestyle=dashes,
                linewidth=1.2,
                marker=marker,
                markersize=4,
                zorder=3,
            )
            if few:
                axis.fill_between(at[piece], low[piece], high[piece], color=colour, alpha=0.12, linewidth=0, zorder=1)
        hollow = own["bound"].to_numpy(dtype=bool)
        axis.plot(at[hollow], value[hollow], marker, color="white", markeredgecolor=colour, markersize=4, zorder=3.5)
        for place, height, change, difference in zip(at, value, own["change"], own["difference"], strict=True):
            if change:
                _mark(axis, place, height, change, difference)
    axis.set_xlim(-0.5, len(nights) - 0.5)
    low_end, high_end = axis.get_ylim()
    axis.set_ylim(max(-2.0, low_end - 3), min(103.0, high_end + 3))
    step = max(1, -(-len(nights) // _TICKS))
    shown = range(0, len(nights), step)
    axis.set_xticks(list(shown), [plain(nights[at]) for at in shown], rotation=30, ha="right")


def _mark(axis: Axes, at: float, value: float, change: str, difference: float) -> None:
    """A ring around the point: full for a jump, broken for a drift; and by how many points."""
    axis.plot(at, value, "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, zorder=4,
              markeredgewidth=1.3 if change == "jump" else 0.7)  # fmt: skip
    axis.axvline(at, color=GREY, linewidth=0.7, linestyle=":", zorder=0)
    axis.annotate(
        f"{difference:+.1f}", (at, value), (0, 9), textcoords="offset points", ha="center", fontsize=7, color=INK
    )


def _legend(frame: pd.DataFrame, rows: Sequence[str], changed: bool) -> list[Line2D]:
    found = []
    for index, row in enumerate(rows):
        colour, dashes, marker = _look(index)
        found.append(
            Line2D(
                [],
                [],
                color=colour,
                linestyle=dashes,
                linewidth=1.2,
                marker=marker,
                markersize=4,
                label=wrapped(row, 50),
            )
        )
    ring = {"marker": "o", "linestyle": "none", "markersize": 9, "markerfacecolor": "none", "markeredgecolor": INK}
    if changed:
        for kind, width, label in (
            ("jump", 1.3, "jump against the night before, in points"),
            ("drift", 0.7, "drift since the first night, in points"),
        ):
            if kind in set(frame["change"]):
                found.append(Line2D([], [], label=label, markeredgewidth=width, **ring))  # type: ignore[arg-type]
    if frame["bound"].any():
        found.append(
            Line2D([], [], marker="o", linestyle="none", color="white", markeredgecolor=INK, markersize=4,
                   label="at most: not complete")
        )  # fmt: skip
    return found
