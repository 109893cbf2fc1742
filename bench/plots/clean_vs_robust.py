"""Clean against robust accuracy of every model, with 95 % intervals; one panel per threat model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.plots import keys, labels
from bench.plots.frames import CLEAN, WORST, Point
from bench.plots.frames import points as lines
from bench.plots.panels import distinct, explained, footnote, marked, shape
from bench.plots.saving import COLOURS, GREY, INK, freeze, new_figure

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 12
"""Up to so many rows have their name beside their point; more have a number, and a key at the right."""
_LONG = 40
"""So do rows with longer names."""
_PANEL = 4.6


class _Percent(MaxNLocator):
    """Round ticks between 0 and 100."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """The ticks for these limits."""
        return [tick for tick in super().tick_values(vmin, vmax) if 0 <= tick <= 100]


class _Pair(NamedTuple):
    """The two numbers of a row under one threat model."""

    clean: Point
    worst: Point


def draw(frame: pd.DataFrame) -> Figure | None:
    """The figure, or ``None`` where there is no row with both numbers.

    Args:
        frame: :func:`bench.plots.frames.accuracy`.
    """
    pairs = _pairs(lines(frame))
    if not pairs:
        return None
    panels = [
        name for name in distinct(frame["threat_model"]) if any(pair.worst.threat_model == name for pair in pairs)
    ]
    names = distinct(pair.worst.row for pair in pairs)
    named = len(names) <= _NAMED and max(map(len, names)) <= _LONG
    numbers = {} if named else {name: str(index) for index, name in enumerate(names, start=1)}
    grid = shape(len(panels), most=2 if len(panels) <= 4 else 3)
    side = _PANEL if grid.columns < 3 else 3.8
    columns = keys.columns(list(numbers), (side - 0.5) * grid.rows)
    key = keys.width(columns)
    figure = new_figure(side * grid.columns + key, (side - 0.5) * grid.rows + 0.8)
    ratios = [side] * grid.columns + [key] * bool(key)
    cells = figure.add_gridspec(grid.rows, len(ratios), width_ratios=ratios)
    axes = [figure.add_subplot(cells[i // grid.columns, i % grid.columns]) for i in range(len(panels))]
    shown = [[pair for pair in pairs if pair.worst.threat_model == name] for name in panels]
    for axis, name, own in zip(axes, panels, shown, strict=True):
        _panel(axis, own)
        axis.set_title(name, loc="left")
    if numbers:
        keys.draw(figure.add_subplot(cells[:, -1]), columns)
    flagged = any(pair.worst.flagged for pair in pairs)
    figure.supxlabel(explained(f"robust accuracies: {footnote([pairs[0].worst])}", flagged), fontsize=7.5)
    figure.legend(
        handles=_legend(pairs, diagonal=any(_crossed(axis) for axis in axes)),
        loc="outside upper left",
        ncols=2 * grid.columns,
    )
    freeze(figure)
    for axis, own in zip(axes, shown, strict=True):
        _label(axis, own, numbers)
    return figure


def _pairs(points: Sequence[Point]) -> list[_Pair]:
    clean = {(point.threat_model, point.row): point for point in points if point.kind == CLEAN and point.known}
    worst = [point for point in points if point.kind == WORST and point.known]
    keys = [(point.threat_model, point.row) for point in worst]
    return [_Pair(clean[key], point) for key, point in zip(keys, worst, strict=True) if key in clean]


def _panel(axis: Axes, pairs: Sequence[_Pair]) -> None:
    axis.grid(visible=True)
    whisker = GREY if len(pairs) <= _NAMED else "#bdbdbd"
    axis.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for clean, worst in pairs:
        axis.plot([clean.low, clean.high], [worst.value] * 2, color=whisker, linewidth=0.8, zorder=2)
        if worst.sure:
            axis.plot([clean.value] * 2, [worst.low, worst.high], color=whisker, linewidth=0.8, zorder=2)
        colour = "white" if worst.status == "bound" else COLOURS[0 if worst.bare else 1]
        axis.plot(clean.value, worst.value, "o" if worst.bare else "s", markersize=5.5, zorder=3, color=colour,
                  markeredgecolor=INK, markeredgewidth=0.7)  # fmt: skip
    axis.set_xlim(*_limits([end for clean, _ in pairs for end in (clean.low, clean.high)]))
    axis.set_ylim(*_limits([end for _, worst in pairs for end in (worst.value, worst.low, worst.high)]))
    axis.set_xlabel("clean accuracy (%)")
    axis.set_ylabel("robust accuracy, worst case (%)")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(_Percent(nbins=7, steps=[1, 2, 5, 10]))


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Around all values, with room for labels, never far beyond 0 to 100."""
    known = [value for value in values if value == value]  # not NaN
    low, high = min(known), max(known)
    room = max(4.0, 0.18 * (high - low))
    return max(-3.0, low - room), min(103.0, high + room)


def _label(axis: Axes, pairs: Sequence[_Pair], numbers: dict[str, str]) -> None:
    places = [
        labels.Labelled(clean.value, worst.value, marked(numbers.get(worst.row, worst.row), worst.flagged))
        for clean, worst in pairs
    ]
    across = [(clean.low, worst.value, clean.high, worst.value) for clean, worst in pairs]
    up = [(clean.value, worst.low, clean.value, worst.high) for clean, worst in pairs if worst.sure]
    diagonal = [(at, at, at + 1.0, at + 1.0) for at in range(100)]
    labels.place(axis, places, [*across, *up, *diagonal])


def _crossed(axis: Axes) -> bool:
    """Whether the line on which robust and clean accuracy are the same runs through a panel."""
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    return max(left, low) < min(right, high)


def _legend(pairs: Sequence[_Pair], *, diagonal: bool) -> list[Line2D]:
    kinds = [
        ("o", COLOURS[0], "model", any(pair.worst.bare for pair in pairs)),
        ("s", COLOURS[1], "model + defense", any(not pair.worst.bare for pair in pairs)),
        ("o", "white", "at most: not complete", any(p.worst.status == "bound" for p in pairs)),
    ]
    found = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markeredgecolor=INK, markersize=5.5, label=text)
        for marker, colour, text, there in kinds
        if there
    ]
    if diagonal:
        found.append(Line2D([], [], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), label="robust = clean"))
    return found
