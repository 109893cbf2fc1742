"""Certified accuracy against the radius, and the worst case of the attacks above it; one panel per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.frames import flagged
from bench.plots.panels import FLAG, distinct, explained, shape, wrapped
from bench.plots.saving import COLOURS, DASHES, GREY, MARKERS, new_figure, plain
from bench.plots.staircases import Dashes, legend
from bench.store.certified import certificates
from bench.store.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

CERTIFIED, ATTACKED, BOUND = "certified", "worst case", "at most"
_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")
"""Yellow is too light for a line."""
_MOST = 500
"""A curve that steps more often is sampled."""
_BEYOND = 1.06
"""Where the axis ends, beyond the last step or marker: one sees that nothing is certified there."""


class Place(NamedTuple):
    """One place of a curve, or one marker: a line of the frame. Accuracies are in %."""

    norm: str
    model: str
    defense: str
    kind: str
    """``certified`` for a place of the curve; ``worst case`` for a marker, ``at most`` where the row isn't complete"""
    radius: float
    """of a marker, eps"""
    value: float
    low: float
    """end of the 95 % interval; NaN for a marker"""
    high: float
    alpha: float
    """probability with which a certificate may be wrong; NaN where it isn't known"""
    images: int
    flagged: bool = False
    """of a marker, whether something speaks against the row's numbers"""


class _Line(NamedTuple):
    """How one defense is drawn."""

    colour: str
    dashes: Dashes
    marker: str


def places(outcome: RunOutcome) -> pd.DataFrame:
    """The curve of each row that has certificates, and its worst cases, with the fields of :class:`Place` as columns.

    Args:
        outcome: the rows of a run.
    """
    import pandas as pd

    lines = []
    nan = float("nan")
    for own in certificates(outcome):
        alpha, images = nan if own.alpha is None else own.alpha, len(own.radii)
        for radius, share, low, high in own.at(own.places(_MOST)):
            numbers = (radius, 100 * share, 100 * low, 100 * high)
            lines.append(Place(own.norm, own.model, own.defense, CERTIFIED, *numbers, alpha, images))
        for row in outcome.rows:
            if (row.threat_model.norm, row.label) == (own.norm, own.label) and row.attacked:
                kind, worst = ATTACKED if row.complete else BOUND, 100 * float(row.worst_correctness.mean())
                eps = float(row.threat_model.eps)
                place = Place(own.norm, own.model, own.defense, kind, eps, worst, nan, nan, alpha, images, flagged(row))
                lines.append(place)
    return pd.DataFrame(lines, columns=list(Place._fields))


def places_of(frame: pd.DataFrame) -> list[Place]:
    """The lines of a frame."""
    return [Place(*line) for line in frame[list(Place._fields)].astype(object).itertuples(index=False)]


def draw(frame: pd.DataFrame) -> Figure | None:
    """The figure of one norm, or ``None`` where nothing is certified.

    Args:
        frame: :func:`places`, of one norm.
    """
    found = places_of(frame)
    if not found:
        return None
    models = distinct(place.model for place in found)
    known = {
        defense: _Line(_LINES[i % len(_LINES)], DASHES[i % len(DASHES)], MARKERS[(i + i // 8) % 8])
        for i, defense in enumerate(distinct(place.defense for place in found))
    }
    grid = shape(len(models))
    figure = new_figure((6.4 if grid.columns == 1 else 4.0) * grid.columns, 3.2 * grid.rows + 1.0)
    end = _BEYOND * max(place.radius for place in found) or 1.0
    for index, model in enumerate(models):
        axis = figure.add_subplot(grid.rows, grid.columns, index + 1)
        _panel(axis, [place for place in found if place.model == model], known, end)
        axis.set_title(wrapped(model, width=44), loc="left")
    figure.supxlabel(explained(_note(found), any(place.flagged for place in found)), fontsize=7.5)
    legend(figure, _legend(found, known))
    return figure


def _panel(axis: Axes, found: Sequence[Place], known: Mapping[str, _Line], end: float) -> None:
    axis.grid(visible=True)
    axis.set_xlim(0, end)
    axis.set_ylim(0, 100)
    axis.set_xlabel(f"radius ({found[0].norm.capitalize()}, images in [0, 1])")
    axis.set_ylabel("accuracy (%)")
    for defense in distinct(place.defense for place in found):
        own = [place for place in found if place.defense == defense]
        _curve(axis, [place for place in own if place.kind == CERTIFIED], known[defense], end)
        for place in own:
            if place.kind != CERTIFIED:
                _marker(axis, place, known[defense])


def _curve(axis: Axes, own: Sequence[Place], line: _Line, end: float) -> None:
    """What holds at a radius holds at every smaller one; beyond the last radius nothing is certified."""
    x, values = [place.radius for place in own], [place.value for place in own]
    low, high = [place.low for place in own], [place.high for place in own]
    axis.fill_between(x, low, high, step="pre", color=line.colour, alpha=0.13, linewidth=0, zorder=1)
    axis.step([*x, end], [*values, 0.0], where="pre", color=line.colour, linestyle=line.dashes, linewidth=1.4, zorder=2)


def _marker(axis: Axes, place: Place, line: _Line) -> None:
    face = line.colour if place.kind == ATTACKED else "white"
    axis.plot([place.radius], [place.value], line.marker, color=face, markersize=6, markeredgecolor=line.colour,
              markeredgewidth=1.2, linestyle="", zorder=4, clip_on=False)  # fmt: skip
    if place.flagged:
        axis.annotate(FLAG, (place.radius, place.value), (5, 3), textcoords="offset points", fontsize=8, color=line.colour,
                      zorder=4)  # fmt: skip


def _legend(found: Sequence[Place], known: Mapping[str, _Line]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=line.colour, linestyle=line.dashes, linewidth=1.4, marker=line.marker, markersize=6,
               label=plain(defense))
        for defense, line in known.items()
    ]  # fmt: skip
    if any(place.kind == BOUND for place in found):
        handles.append(Line2D([], [], color="white", linestyle="", marker="o", markersize=6, markeredgecolor=GREY,
                              label="hollow: not all attacks are done"))  # fmt: skip
    return handles


def _note(found: Sequence[Place]) -> str:
    """What is a bound of what, and how sure it is."""
    alphas = sorted({place.alpha for place in found if place.alpha == place.alpha})
    alpha = " or ".join(f"{alpha:g}" for alpha in alphas)
    wrong = f" (alpha {alpha})" if alpha else ""
    images = found[0].images
    return (
        f"line: a lower bound, each image's certificate being wrong with probability alpha at most{wrong};\n"
        f"markers: an upper bound, what the attacks leave; bands: 95 % interval over {images:,} image{'s' * (images != 1)}"
    )
