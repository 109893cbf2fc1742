"""What every defense costs on clean images against what it gives under attack; one panel per threat model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.plots import keys, labels
from bench.plots.panels import distinct, explained, marked, shape
from bench.plots.restoration import Change, changes_of
from bench.plots.saving import COLOURS, GREY, INK, MARKERS, freeze, new_figure, plain
from bench.plots.staircases import legend

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 12
"""Up to so many defended rows have their name beside their point; more have a number, and a key at the right."""
_LONG = 40
"""So do rows with longer names."""
_PANEL = 4.6


def draw(frame: pd.DataFrame) -> Figure | None:
    """The figure, or ``None`` where no row has its bare model beside it.

    Args:
        frame: :func:`bench.plots.restoration.changes`.
    """
    changes = changes_of(frame)
    if not changes:
        return None
    panels = distinct(change.threat_model for change in changes)
    one_model = len({change.model for change in changes}) == 1
    names = distinct(_name(change, one_model) for change in changes)
    named = len(names) <= _NAMED and max(map(len, names)) <= _LONG
    numbers = {} if named else {name: str(index) for index, name in enumerate(names, start=1)}
    defenses = distinct(change.defense for change in changes)
    grid = shape(len(panels), most=2 if len(panels) <= 4 else 3)
    side = _PANEL if grid.columns < 3 else 3.8
    columns = keys.columns(list(numbers), (side - 0.5) * grid.rows)
    key = keys.width(columns)
    figure = new_figure(side * grid.columns + key, (side - 0.5) * grid.rows + 0.9)
    ratios = [side] * grid.columns + [key] * bool(key)
    cells = figure.add_gridspec(grid.rows, len(ratios), width_ratios=ratios)
    axes = [figure.add_subplot(cells[i // grid.columns, i % grid.columns]) for i in range(len(panels))]
    shown = [[change for change in changes if change.threat_model == name] for name in panels]
    for axis, name, own in zip(axes, panels, shown, strict=True):
        _panel(axis, own, defenses)
        axis.set_title(name, loc="left")
    if numbers:
        keys.draw(figure.add_subplot(cells[:, -1]), columns)
    flagged = any(change.flagged for change in changes)
    figure.supxlabel(explained(_note(changes, one_model), flagged), fontsize=7.5)
    legend(figure, _legend(changes, [] if one_model else defenses))
    freeze(figure)
    for axis, own in zip(axes, shown, strict=True):
        _label(axis, own, numbers, one_model)
    return figure


def _name(change: Change, one_model: bool) -> str:
    return change.defense if one_model else f"{change.model} + {change.defense}"


def _panel(axis: Axes, changes: Sequence[Change], defenses: Sequence[str]) -> None:
    axis.grid(visible=True)
    whisker = GREY if len(changes) <= _NAMED else "#bdbdbd"
    for line in (axis.axvline, axis.axhline):
        line(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    for change in changes:
        axis.plot([change.clean_low, change.clean_high], [change.robust] * 2, color=whisker, linewidth=0.8, zorder=2)
        axis.plot([change.clean] * 2, [change.robust_low, change.robust_high], color=whisker, linewidth=0.8, zorder=2)
        colour, marker = _look(defenses.index(change.defense))
        axis.plot(change.clean, change.robust, marker, markersize=6, zorder=3,
                  color="white" if change.status == "bound" else colour,
                  markeredgecolor=INK, markeredgewidth=0.7)  # fmt: skip
    axis.set_xlim(*_limits([end for change in changes for end in (change.clean, change.clean_low, change.clean_high)]))
    axis.set_ylim(
        *_limits([end for change in changes for end in (change.robust, change.robust_low, change.robust_high)])
    )
    axis.set_xlabel("change of clean accuracy (points)")
    axis.set_ylabel("change of robust accuracy, worst case (points)")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
        scale.set_major_formatter(FuncFormatter(_signed))


def _signed(value: float, _: object) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:+g}".replace("-", "−")


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Around all values and 0, with room for labels."""
    known = [0.0, *(value for value in values if value == value)]  # not NaN
    low, high = min(known), max(known)
    room = max(2.0, 0.18 * (high - low))
    return low - room, high + room


def _label(axis: Axes, changes: Sequence[Change], numbers: dict[str, str], one_model: bool) -> None:
    names = [_name(change, one_model) for change in changes]
    places = [
        labels.Labelled(change.clean, change.robust, marked(numbers.get(name, name), change.flagged))
        for change, name in zip(changes, names, strict=True)
    ]
    across = [(c.clean_low, c.robust, c.clean_high, c.robust) for c in changes if c.clean_low == c.clean_low]
    up = [(c.clean, c.robust_low, c.clean, c.robust_high) for c in changes if c.sure]
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    labels.place(axis, places, [*across, *up, (left, 0, right, 0), (0, low, 0, high)])


def _note(changes: Sequence[Change], one_model: bool) -> str:
    images = changes[0].images
    model = f"bare {changes[0].model}" if one_model else "same model without defense"
    return (
        f"against the {model}, image by image;\nrobust accuracies are upper bounds; "
        f"whiskers: 95 % interval over {images:,} image{'' if images == 1 else 's'}"
    )


def _look(index: int) -> tuple[str, str]:
    """Colour and marker of a defense, the same for all models."""
    return COLOURS[index % 8], MARKERS[(index + index // 8) % 8]


def _legend(changes: Sequence[Change], defenses: Sequence[str]) -> list[Line2D]:
    found = [Line2D([], [], color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="no change")]
    looks = [(*_look(index), plain(defense)) for index, defense in enumerate(defenses)]
    if any(change.status == "bound" for change in changes):
        looks.append(("white", "o", "at most: not complete"))
    return found + [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markeredgecolor=INK, markeredgewidth=0.7,
               markersize=6, label=text)
        for colour, marker, text in looks
    ]  # fmt: skip
