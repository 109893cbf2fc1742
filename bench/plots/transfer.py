"""Whose examples fool whom: a heat map with the model that they were made against on each line, the target in each column."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.metrics import estimates
from bench.plots.panels import distinct, wrapped
from bench.plots.saving import GREY, INK, new_figure, plain
from bench.store.crossings import Square, matrices
from bench.store.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

_STATUS = {"unavailable": "n/a"}
_SIDE = 0.82
"""Inches of a cell."""
_LETTER = 0.068
_SMALL = 0.056
"""Inches of a letter of the labels, and of the note below."""
_LINE = 0.155
_WIDTH = 26
"""Characters after which a label goes on in the next line."""
_DARK = 45
"""From this success on the colour is too dark for dark numbers."""


class Crossed(NamedTuple):
    """One cell of a matrix: a line of the frame. Shares are in %, NaN where there is no number."""

    name: str
    """of the plot: ``<threat model>-<attack>``"""
    title: str
    source: str
    target: str
    own: bool
    """whether the target is the model that the examples were made against"""
    status: str
    success: float
    """of the images that the target has right when clean, those that the examples break"""
    rate: float
    """transfer rate: of those that both have right and whose example fools the source, those that fool the target"""
    of: int
    """how many images the rate is of"""
    images: int


def crossed(outcome: RunOutcome) -> pd.DataFrame:
    """Every cell of every matrix, with the fields of :class:`Crossed` as columns.

    Args:
        outcome: the rows of a run.
    """
    import pandas as pd

    lines = []
    for matrix in matrices(outcome):
        name = f"{matrix.threat_model.slug}-{matrix.attack}"
        title = f"{matrix.threat_model.label} · {matrix.attack}"
        for source in matrix.sources:
            for row in matrix.targets:
                square = matrix.squares.get((source, row.label))
                if square is not None:
                    lines.append(_line(name, title, square, outcome.samples))
    return pd.DataFrame(lines, columns=list(Crossed._fields))


def _line(name: str, title: str, square: Square, images: int) -> Crossed:
    place = (name, title, square.source, square.row.label, square.own, square.status)
    if square.status != "done":
        return Crossed(*place, np.nan, np.nan, 0, images)
    success = estimates.proportion(square.broken[square.right]).value
    rate = None if square.own else estimates.proportion(square.carried[square.fooled]).value
    broken, carried = (np.nan if value is None else 100 * value for value in (success, rate))
    return Crossed(*place, broken, carried, int(square.fooled.sum()), images)


def lines_of(frame: pd.DataFrame) -> list[Crossed]:
    """The lines of a frame."""
    return [Crossed(*line) for line in frame[list(Crossed._fields)].astype(object).itertuples(index=False)]


def draw(frame: pd.DataFrame) -> Figure | None:
    """The heat map of one threat model and attack, or ``None`` where there is nothing to show.

    Args:
        frame: :func:`crossed`, of one name.
    """
    found = lines_of(frame)
    if not found:
        return None
    sources, targets = distinct(line.source for line in found), distinct(line.target for line in found)
    rows, columns = ([wrapped(name, _WIDTH) for name in names] for names in (sources, targets))
    upright = max(_longest(columns), 1) * _LETTER > _SIDE
    left, below = _extent(rows), _extent(columns) if upright else _LINE * _deepest(columns)
    width = max(left + _SIDE * len(targets) + 0.8, 4.4)
    note = textwrap.fill(_note(found), int(width / _SMALL))
    figure = new_figure(width, below + 0.8 * _SIDE * len(sources) + 1.0 + 0.9 * _LINE * len(note.splitlines()))
    axis = figure.add_subplot()
    _cells(axis, found, sources, targets)
    axis.set_xticks(range(len(targets)), columns, rotation=90 if upright else 0)
    axis.set_yticks(range(len(sources)), rows)
    axis.set_xlabel("target: the examples were tried on")
    axis.set_ylabel("source (bare)")
    axis.set_title(plain(found[0].title), loc="left")
    figure.supxlabel(note, fontsize=7)
    return figure


def _cells(axis: Axes, found: Sequence[Crossed], sources: Sequence[str], targets: Sequence[str]) -> None:
    values = np.full((len(sources), len(targets)), np.nan)
    for line in found:
        values[sources.index(line.source), targets.index(line.target)] = line.success
    axis.imshow(np.ma.masked_invalid(values), cmap="cividis_r", vmin=0, vmax=100, aspect="auto")
    for line in found:
        place = targets.index(line.target), sources.index(line.source)
        _numbers(axis, line, *place)
        if line.own:
            axis.add_patch(Rectangle((place[0] - 0.47, place[1] - 0.47), 0.94, 0.94, fill=False, edgecolor="#D55E00",
                                     linewidth=1.8))  # fmt: skip
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _numbers(axis: Axes, line: Crossed, x: int, y: int) -> None:
    if np.isnan(line.success):
        text = "–" if line.status == "done" else _STATUS.get(line.status, line.status)
        axis.text(x, y, text, ha="center", va="center", fontsize=7.5, color=GREY)
        return
    colour = "white" if line.success >= _DARK else INK
    axis.text(
        x, y - (0 if line.own else 0.17), f"{line.success:.1f}", ha="center", va="center", fontsize=9, color=colour
    )
    if not line.own:
        rate = "–" if np.isnan(line.rate) else f"{line.rate:.0f} %"
        axis.text(x, y + 0.22, f"{rate} of {line.of}", ha="center", va="center", fontsize=6.5, color=colour)


def _longest(labels: Sequence[str]) -> int:
    return max(len(line) for label in labels for line in label.splitlines())


def _deepest(labels: Sequence[str]) -> int:
    return max(len(label.splitlines()) for label in labels)


def _extent(labels: Sequence[str]) -> float:
    """Inches that the longest line takes."""
    return _LETTER * _longest(labels)


def _note(found: Sequence[Crossed]) -> str:
    images = found[0].images
    return (
        "line: the bare model that the examples were made against; large, and the colour: attack success in % of the images "
        f"that the target has right when clean, of {images:,} in all; small: transfer rate, of the images that both have right "
        "and whose example fools the source; framed: a model's own white-box examples"
    )
