"""Robust accuracy against the passes that an attack has spent on a sample, a panel per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots import staircases
from bench.plots.panels import Look, distinct, explained, marked, shape, wrapped
from bench.plots.saving import new_figure, plain
from bench.plots.staircases import Dashes, Step

if TYPE_CHECKING:
    import pandas as pd

_MOST = 12
"""Of more rows, so many get a panel: those of the highest worst case."""
_NOTE = (
    "upper bounds; bands: 95 % interval over {images:,} images; marker: the budget of a sample that nothing broke. "
    "Left out: attacks of libraries,\nwhose passes are only known per batch, and search: strongest, "
    "which never stops early"
)


_AXES = "passes per sample (forward + backward)", "robust accuracy (%)"


def draw(
    frame: pd.DataFrame, known: Mapping[str, Look], axes: tuple[str, str] = _AXES, note: str = _NOTE
) -> Figure | None:
    """The figure of one threat model, or ``None`` where no attack tells its passes.

    Args:
        frame: :func:`bench.plots.staircases.passes`, of one threat model.
        known: how each series is drawn.
        axes: what stands at the two axes.
        note: what stands below the figure, with a place for the number of ``images``.
    """
    steps = staircases.steps_of(frame)
    if not steps:
        return None
    everything = distinct(step.row for step in steps)
    rows, steps = everything[:_MOST], [step for step in steps if step.row in everything[:_MOST]]
    shown = {step.series for step in steps}
    series = [name for name in known if name in shown]
    grid = shape(len(rows))
    wide = 6.4 if grid.columns == 1 else 4.0
    figure = new_figure(wide * grid.columns, 3.0 * grid.rows + 0.9)
    dashes = staircases.dashes_of(series)
    largest = max(step.x for step in steps)
    for index, row in enumerate(rows):
        axis = figure.add_subplot(grid.rows, grid.columns, index + 1)
        own = [step for step in steps if step.row == row]
        _panel(axis, own, known, dashes, largest)
        axis.set_xlabel(axes[0])
        axis.set_ylabel(axes[1])
        axis.set_title(marked(wrapped(f"{row} | {steps[0].panel}", width=44), own[0].flagged), loc="left")
    first = f"the first {len(rows)} of {len(everything)} rows; " if len(everything) > len(rows) else ""
    figure.supxlabel(
        explained(first + note.format(images=steps[0].images), any(step.flagged for step in steps)), fontsize=7.5
    )
    handles = [
        Line2D([], [], color=staircases.line_colour(known[name]), linestyle=dashes[name], linewidth=1.6, label=plain(name),
               marker=known[name].marker, markersize=4)
        for name in series
    ]  # fmt: skip
    staircases.legend(figure, handles)
    return figure


def _panel(
    axis: Axes,
    steps: Sequence[Step],
    known: Mapping[str, Look],
    dashes: Mapping[str, Dashes],
    largest: float,
) -> None:
    axis.grid(visible=True)
    axis.set_xscale("log")
    for name in dashes:
        own = [step for step in steps if step.series == name]
        if not own:
            continue
        # The axis has no 0: there the clean accuracy holds up to the first pass.
        staircases.draw(
            axis, [own[0]._replace(x=0.8), *(step for step in own if step.x >= 1)], known[name], dashes[name]
        )
        axis.plot(own[-1].x, own[-1].value, marker=known[name].marker, markersize=5, color=staircases.line_colour(known[name]),
                  markeredgecolor="white", markeredgewidth=0.4, zorder=4)  # fmt: skip
    axis.set_xlim(0.8, 1.4 * max(largest, 2))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_ylim(0, 100)
