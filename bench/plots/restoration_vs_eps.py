"""How many labels a defense gives back against the strength of an attack that doesn't know it; one panel per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.panels import FLAG, distinct, eps_axis, explained, shape, wrapped
from bench.plots.restoration import Restored, restored_of
from bench.plots.saving import COLOURS, DASHES, MARKERS, new_figure, plain
from bench.plots.staircases import Dashes, legend

if TYPE_CHECKING:
    import pandas as pd

_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")
"""Yellow is too light for a line."""
_NOTE = (
    "of the examples that fool the bare model, made without knowing the defense: one that knows it may leave less;\n"
    "the lowest rate over the attacks, drawn side by side at each eps; whiskers: 95 % interval over {images} examples"
)
_APART = 0.007
"""How far defenses stand apart at one eps, so that their whiskers can be told apart: a share of the width."""


class _Line(NamedTuple):
    """How one defense is drawn."""

    colour: str
    dashes: Dashes
    marker: str


def draw(frame: pd.DataFrame) -> Figure | None:
    """The figure, or ``None`` where no defense has a rate at several eps of one norm.

    Args:
        frame: :func:`bench.plots.restoration.by_eps`.
    """
    rates = _with_several_eps(restored_of(frame))
    if not rates:
        return None
    panels = list(dict.fromkeys((rate.norm, rate.model) for rate in rates))
    known = {
        defense: _Line(_LINES[i % len(_LINES)], DASHES[i % len(DASHES)], MARKERS[(i + i // 8) % 8])
        for i, defense in enumerate(distinct(frame["defense"]))
        if any(rate.defense == defense for rate in rates)
    }
    grid = shape(len(panels))
    figure = new_figure((6.4 if grid.columns == 1 else 4.0) * grid.columns, 3.2 * grid.rows + 0.9)
    for index, (norm, model) in enumerate(panels):
        axis = figure.add_subplot(grid.rows, grid.columns, index + 1)
        _panel(axis, [rate for rate in rates if (rate.norm, rate.model) == (norm, model)], known)
        axis.set_title(wrapped(model, width=44), loc="left")
    fewest, most = min(rate.images for rate in rates), max(rate.images for rate in rates)
    note = _NOTE.format(images=f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}")
    figure.supxlabel(explained(note, any(rate.flagged for rate in rates)), fontsize=7.5)
    legend(
        figure,
        [
            Line2D([], [], color=line.colour, linestyle=line.dashes, marker=line.marker, markersize=4.5, linewidth=1.4,
                   label=plain(defense))
            for defense, line in known.items()
        ],
    )  # fmt: skip
    return figure


def _with_several_eps(rates: Sequence[Restored]) -> list[Restored]:
    """The rates of those rows that have them at several eps."""
    radii: dict[tuple[str, str, str], set[float]] = {}
    for rate in rates:
        radii.setdefault((rate.norm, rate.model, rate.defense), set()).add(rate.eps)
    return [rate for rate in rates if len(radii[rate.norm, rate.model, rate.defense]) > 1]


def _panel(axis: Axes, rates: Sequence[Restored], known: Mapping[str, _Line]) -> None:
    largest = max(rate.eps for rate in rates)
    eps_axis(axis, rates[0].norm, [rate.eps for rate in rates], apart=0.09)
    axis.set_xlim(-0.02 * largest, 1.05 * largest)
    there = distinct(rate.defense for rate in rates)
    for index, defense in enumerate(there):
        line, own = known[defense], [rate for rate in rates if rate.defense == defense]
        aside = min(_APART, 0.05 / len(there)) * (index - (len(there) - 1) / 2) * largest
        eps = [rate.eps + aside for rate in own]
        axis.vlines(
            eps, [rate.low for rate in own], [rate.high for rate in own], color=line.colour, linewidth=0.9, zorder=2
        )
        axis.plot(eps, [rate.value for rate in own], color=line.colour, linestyle=line.dashes, linewidth=1.4, zorder=3,
                  marker=line.marker, markersize=5, markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip
        for place, rate in zip(eps, own, strict=True):
            if rate.flagged:
                axis.annotate(FLAG, (place, rate.value), (4, 4), textcoords="offset points", fontsize=7, color=line.colour,
                              zorder=4)  # fmt: skip
    axis.set_ylim(-2, 102)
    axis.set_ylabel("label restoration rate (%)")
