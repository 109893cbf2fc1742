"""Figures for papers: PDF as wide as one column or as both, in fonts that stay readable there, and embedded.

Drawn at the size at which they are printed, so that nothing is scaled: include them without ``width=``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.plots import frames, labels, saving
from bench.plots.frames import CLEAN, WORST, Point
from bench.plots.panels import WHITE, Look, distinct, eps_axis, looks, marked, wrapped
from bench.plots.saving import COLOURS, DASHES, GREY, INK, MARKERS, freeze, new_figure, plain
from bench.store.atomic import explained
from bench.store.atomic import write as write_file

if TYPE_CHECKING:
    from matplotlib.artist import Artist

    from bench.store.outcomes import RunOutcome

WIDTHS = {"one-column": 3.25, "two-column": 6.75, "none": 0.0}
"""Inches by the names for ``--plots``."""
SMALLEST = 7.0
"""No text is smaller than this, in points."""
_TALL = 8.4
"""Inches that a page has for a figure and its caption."""
_NAMED = 10
"""Up to so many rows are told apart by colour and marker; more have a number, and their names in the caption."""
_LETTER = 0.062
"""Width of a letter in inches at the smallest size."""
_UNDATED = {"CreationDate": None, "Producer": None}
"""No dates and no versions inside, so that the same records give the same files."""
_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")
_SETTINGS = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.labelsize": 8.0,
    "xtick.labelsize": SMALLEST,
    "ytick.labelsize": SMALLEST,
    "legend.fontsize": SMALLEST,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
}


class Drawn(NamedTuple):
    """A figure and what it shows."""

    figure: Figure
    caption: str


def draw(outcome: RunOutcome, width: str, names: Mapping[str, str] | None = None) -> dict[str, Drawn]:
    """The figures by the names of their files, without ending: none where the width is ``none``.

    Args:
        outcome: the rows of a run.
        width: a key of :data:`WIDTHS`.
        names: how legends spell attacks, by their id; as the id where they aren't here.

    Returns:
        ``attacks-<threat model>`` and ``clean-vs-robust-<threat model>`` for each, and ``accuracy-vs-eps-<norm>`` where a norm
        has several radii.
    """
    inches = WIDTHS[width]
    if not inches:
        return {}
    spelled = names or {}
    points = [
        point._replace(series=spelled.get(point.series, point.series)) if point.kind == "attack" else point
        for point in frames.points(frames.accuracy(outcome))
    ]
    known, drawn = looks(points), {}
    with _style():
        for threat_model in outcome.threat_models:
            own = [point for point in points if point.threat_model == threat_model.label]
            for name, figure in (("attacks", _attacks(own, known, inches)), ("clean-vs-robust", _scatter(own, inches))):
                if figure is not None:
                    drawn[f"{name}-{threat_model.slug}"] = figure
        for norm in distinct(threat_model.norm for threat_model in outcome.threat_models):
            figure = _curves([point for point in points if point.norm == norm], inches)
            if figure is not None:
                drawn[f"accuracy-vs-eps-{norm}"] = figure
        for one in drawn.values():
            freeze(one.figure)
    return drawn


def write(directory: Path, drawn: Mapping[str, Drawn]) -> list[Path]:
    """Writes each as PDF, and removes those of an earlier call that are not drawn any more.

    Raises:
        StoreError: where a file can't be written.
    """
    paths = []
    with _style():
        for name, one in drawn.items():
            path = directory / f"{name}.pdf"
            write_file(path, partial(one.figure.savefig, format="pdf", metadata=dict(_UNDATED)))
            paths.append(path)
    for pattern in ("attacks-*.pdf", "clean-vs-robust-*.pdf", "accuracy-vs-eps-*.pdf"):
        for older in directory.glob(pattern):
            if older not in paths:
                with explained(older):
                    older.unlink()
    return paths


@contextmanager
def _style() -> Iterator[None]:
    with saving.style():
        mpl.rcParams.update(_SETTINGS)  # type: ignore[arg-type]
        yield


def _bound(points: Sequence[Point]) -> str:
    """What the numbers are, for a caption."""
    first = points[0]
    texts = [f"{first.images:,} images; whiskers are 95 % intervals over images, and robust accuracies upper bounds"]
    if any(point.status == "bound" for point in points):
        texts.append("hollow: at most that, since a cell is missing, failed or invalid")
    if any(point.flagged for point in points):
        texts.append("a flag: see the notes of the table")
    return "; ".join(texts)


# -- every attack on every row ---------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """What a plot of attacks has room for."""

    shown: list[str]
    """the series"""
    names: dict[str, str]
    """what stands beside each row"""
    heights: dict[str, float]
    """of each row, in inches"""


def _attacks(points: Sequence[Point], known: Mapping[str, Look], inches: float) -> Drawn | None:
    """Every series of every row below each other; only the worst case where that would not fit a page."""
    if not any(point.known for point in points):
        return None
    plan = _plan(points, known, inches)
    shown, total = plan.shown, sum(plan.heights.values())
    legend = 0.17 * -(-(len(shown) + 1) // _legend_columns(shown, inches))
    figure = new_figure(inches, total + 0.55 + legend)
    axis = figure.subplots()
    top, centres = 0.0, []
    for place, (row, height) in enumerate(plan.heights.items()):
        own = {point.series: point for point in points if point.row == row}
        _row(axis, own, shown, known, top, height, shaded=bool(place % 2))
        centres.append(top + height / 2)
        top += height
    flagged = {point.row for point in points if point.flagged}
    axis.set_yticks(centres, [marked(name, row in flagged) for row, name in plan.names.items()])
    axis.set_ylim(total, 0)
    axis.set_xlim(0, 100)
    axis.grid(axis="x")
    axis.tick_params(axis="y", length=0, pad=6)
    axis.spines["left"].set_visible(False)
    axis.set_xlabel("accuracy (%)")
    handles = [Line2D([], [], color=INK, marker="|", linestyle="none", markersize=7, markeredgewidth=1.2, label=CLEAN)]
    handles += [_handle(name, known[name]) for name in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=_legend_columns(shown, inches))
    which = "Clean and robust accuracy under every attack" if len(shown) > 1 else "Clean accuracy and worst case"
    numbered = all(name.isdigit() for name in plan.names.values())
    key = f" {'; '.join(f'{name} {row}' for row, name in plan.names.items())}." if numbered else ""
    return Drawn(figure, f"{which}, {points[0].threat_model}. {_bound(points)}.{key}")


def _plan(points: Sequence[Point], known: Mapping[str, Look], inches: float) -> _Plan:
    """Everything by name; only the worst case, and then only numbers beside it, where that is too tall for a page."""
    rows = distinct(point.row for point in points)
    series = [name for name in known if any(point.series == name for point in points)]
    names = {row: wrapped(row, 18 if inches < 4 else 34) for row in rows}
    numbers = {row: str(place) for place, row in enumerate(rows, start=1)}
    choices = ((series, names, 0.09), ([WORST], names, 0.09), ([WORST], names, 0.03), ([WORST], numbers, 0.03))
    plans = [
        _Plan(shown, texts, {row: _height(points, row, shown, texts[row]) + gap for row in rows})
        for shown, texts, gap in choices
    ]
    return next((plan for plan in plans if sum(plan.heights.values()) + 1.0 <= _TALL), plans[-1])


def _height(points: Sequence[Point], row: str, shown: Sequence[str], name: str) -> float:
    """What a row's series and its name need in inches."""
    series = len({point.series for point in points if point.row == row and point.series in shown})
    return max(0.085 * series, 0.125 * (name.count("\n") + 1))


def _row(
    axis: Axes,
    own: Mapping[str, Point],
    shown: Sequence[str],
    known: Mapping[str, Look],
    top: float,
    height: float,
    *,
    shaded: bool,
) -> None:
    if shaded:
        axis.axhspan(top, top + height, color="#f3f3f3", zorder=0, linewidth=0)
    there = [name for name in shown if name in own]
    first = top + (height - 0.085 * (len(there) - 1)) / 2
    for place, name in enumerate(there):
        _dot(axis, own[name], first + 0.085 * place, known[name])
    clean = own.get(CLEAN)
    if clean is not None and clean.known:
        ends = [top + 0.03, top + height - 0.03]
        axis.plot([clean.value] * 2, ends, color=INK, linewidth=1.1, zorder=3, clip_on=False)


def _dot(axis: Axes, point: Point, y: float, look: Look) -> None:
    if not point.known:
        return
    if point.sure:
        axis.plot([point.low, point.high], [y, y], color=GREY, linewidth=0.8, zorder=1.5)
    face = WHITE if point.status == "bound" else look.colour
    axis.plot(
        point.value, y, look.marker, color=face, markeredgecolor=INK, markeredgewidth=0.5, zorder=2.5, clip_on=False,
        markersize=4.4 if point.kind == WORST else 3.8,
    )  # fmt: skip


def _handle(name: str, look: Look) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", markersize=4.4, label=plain(name),
                  markeredgecolor=INK, markeredgewidth=0.5)  # fmt: skip


def _legend_columns(names: Sequence[str], inches: float) -> int:
    """How many entries of a legend fit beside each other."""
    longest = max(map(len, [*names, CLEAN]))
    return max(1, min(len(names) + 1, int(inches / (_LETTER * longest + 0.42))))


def _legend_shape(names: Sequence[str], inches: float) -> tuple[int, int]:
    """How many columns of a legend hold these names, and how many lines that takes."""
    if not names:
        return 1, 0
    columns = _legend_columns([line for name in names for line in name.split("\n")], inches)
    rows = [names[start : start + columns] for start in range(0, len(names), columns)]
    return columns, sum(max(name.count("\n") + 1 for name in row) for row in rows)


# -- clean against robust --------------------------------------------------------------------------------------------


def _scatter(points: Sequence[Point], inches: float) -> Drawn | None:
    """A point per row; its name in the legend, or its number there and its name in the caption."""
    clean = {point.row: point for point in points if point.kind == CLEAN and point.known}
    worst = [point for point in points if point.kind == WORST and point.known and point.row in clean]
    if len(worst) < 2:
        return None
    names = {point.row: str(place) for place, point in enumerate(worst, start=1)} if len(worst) > _NAMED else {}
    handles = [] if names else [_named(point, place, inches) for place, point in enumerate(worst)]
    columns, lines = _legend_shape([str(handle.get_label()) for handle in handles], inches)
    figure = new_figure(inches, (2.5 if inches < 4 else 3.2) + 0.16 * lines)
    axis = figure.subplots()
    axis.grid(visible=True)
    axis.plot([0, 100], [0, 100], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for place, point in enumerate(worst):
        look = _look(place, bare=point.bare, numbered=bool(names))
        _pair(axis, clean[point.row], point, look, "#c8c8c8" if names else GREY)
    values = [end for point in worst for end in (clean[point.row].low, clean[point.row].high)]
    axis.set_xlim(*_limits([*values, *(clean[point.row].value for point in worst)]))
    axis.set_ylim(*_limits([end for point in worst for end in (point.value, point.low, point.high)]))
    axis.set_xlabel("clean accuracy (%)")
    axis.set_ylabel("robust accuracy (%)")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_locator(_Percent(nbins=6, steps=[1, 2, 5, 10]))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    freeze(figure)
    if names:
        labels.place(
            axis, [labels.Labelled(clean[p.row].value, p.value, marked(names[p.row], p.flagged)) for p in worst]
        )
    key = "; ".join(f"{number} {row}" for row, number in names.items())
    shapes = " Circles: bare models; squares: with a defense." if names and not all(p.bare for p in worst) else ""
    key = f" {key}." if key else ""
    caption = f"Clean accuracy against the worst case, {points[0].threat_model}; dashed: both the same."
    caption += f" {_bound(worst)}.{shapes}{key}"
    return Drawn(figure, caption)


def _look(place: int, *, bare: bool, numbered: bool) -> Look:
    if numbered:
        return Look(COLOURS[0 if bare else 1], "", "o" if bare else "s")
    return Look(COLOURS[place % len(COLOURS)], "", MARKERS[(place + place // len(COLOURS)) % len(MARKERS)])


def _named(point: Point, place: int, inches: float) -> Line2D:
    look = _look(place, bare=point.bare, numbered=False)
    face = WHITE if point.status == "bound" else look.colour
    name = marked(wrapped(point.row, 24 if inches < 4 else 40), point.flagged)
    return Line2D([], [], color=face, marker=look.marker, linestyle="none", markersize=5, label=name,
                  markeredgecolor=INK, markeredgewidth=0.6)  # fmt: skip


def _pair(axis: Axes, clean: Point, worst: Point, look: Look, whisker: str) -> None:
    if clean.sure:
        axis.plot([clean.low, clean.high], [worst.value] * 2, color=whisker, linewidth=0.7, zorder=2)
    if worst.sure:
        axis.plot([clean.value] * 2, [worst.low, worst.high], color=whisker, linewidth=0.7, zorder=2)
    face = WHITE if worst.status == "bound" else look.colour
    axis.plot(clean.value, worst.value, look.marker, markersize=5, zorder=3, color=face, markeredgecolor=INK,
              markeredgewidth=0.6)  # fmt: skip


def _limits(values: Sequence[float]) -> tuple[float, float]:
    known = [value for value in values if value == value]  # not NaN
    room = max(3.0, 0.1 * (max(known) - min(known)))
    return max(-2.0, min(known) - room), min(102.0, max(known) + room)


class _Percent(MaxNLocator):
    """Round ticks between 0 and 100."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """The ticks for these limits."""
        return [tick for tick in super().tick_values(vmin, vmax) if 0 <= tick <= 100]


# -- accuracy against eps --------------------------------------------------------------------------------------------


def _curves(points: Sequence[Point], inches: float) -> Drawn | None:
    """The worst case of every row against eps, from the clean accuracy at 0."""
    worst = [point for point in points if point.kind == WORST and point.known]
    radii = sorted({point.eps for point in worst})
    rows = distinct(point.row for point in worst)
    if len(radii) < 2 or len(rows) > 2 * _NAMED:
        return None
    clean = {point.row: point for point in points if point.kind == CLEAN and point.known}
    handles: list[Artist] = []
    figure = new_figure(inches, 1.0)
    axis = figure.subplots()
    for place, row in enumerate(rows):
        look = Look(_LINES[place % len(_LINES)], "", MARKERS[place % len(MARKERS)])
        dashes = DASHES[(place + place // len(_LINES)) % len(DASHES)]
        own = sorted((point for point in worst if point.row == row), key=lambda point: point.eps)
        curve = [*([clean[row]._replace(eps=0.0)] if row in clean else []), *own]
        _curve(axis, curve, look, dashes)
        name = marked(wrapped(row, 24 if inches < 4 else 40), any(point.flagged for point in own))
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle=dashes, markersize=4, label=name,
                              linewidth=1.1))  # fmt: skip
    eps_axis(axis, points[0].norm, radii, apart=0.14 if inches < 4 else 0.07)
    axis.set_ylim(-2.5, 102.5)
    axis.set_yticks(range(0, 101, 20))
    axis.set_ylabel("accuracy (%)")
    columns, lines = _legend_shape([str(handle.get_label()) for handle in handles], inches)
    figure.set_size_inches(inches, (2.4 if inches < 4 else 3.0) + 0.16 * lines)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    norm = points[0].norm.capitalize()
    return Drawn(figure, f"Worst case against the radius, {norm}; at 0 the clean accuracy. {_bound(worst)}.")


def _curve(axis: Axes, curve: Sequence[Point], look: Look, dashes: tuple[int, tuple[float, ...]]) -> None:
    eps, values = [point.eps for point in curve], [point.value for point in curve]
    axis.plot(eps, values, color=look.colour, linestyle=dashes, linewidth=1.1, marker=look.marker, markersize=4,
              markeredgecolor="white", markeredgewidth=0.4, zorder=3)  # fmt: skip
    for point in curve:
        if point.status == "bound":
            axis.plot(point.eps, point.value, look.marker, color=WHITE, markeredgecolor=look.colour, markersize=4,
                      markeredgewidth=1.0, zorder=3.5)  # fmt: skip
    sure = [point for point in curve if point.sure]
    axis.vlines([p.eps for p in sure], [p.low for p in sure], [p.high for p in sure], color=look.colour, linewidth=0.7)
