"""Panels, names and series that several plots share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from bench.plots.frames import GRADIENT_FREE, OBLIVIOUS, WORST, Point
from bench.plots.saving import COLOURS, HATCHES, INK, MARKERS, plain

_LABEL = 30
"""Characters after which a name goes on in the next line."""
WHITE = "#ffffff"
FLAG = "⚑"
FLAGGED = f"{FLAG} flagged: see the notes under the table"


class Look(NamedTuple):
    """How one series is drawn everywhere."""

    colour: str
    hatch: str
    marker: str


class Shape(NamedTuple):
    """How many panels stand below and beside each other."""

    rows: int
    columns: int


def looks(points: Sequence[Point], more: Iterable[str] = ()) -> dict[str, Look]:
    """The look of each series but ``clean``, in the order of the legend: attacks, gradient-free, oblivious, worst case.

    Args:
        points: the accuracies of a run.
        more: attacks that may have none.
    """
    named = [point.series for point in points if point.kind == "attack"]
    attacks = dict.fromkeys([*named, *(series for series in more if series != GRADIENT_FREE)])
    found = {
        series: Look(COLOURS[i % 8], HATCHES[(i + i // 8) % 8], MARKERS[(i + i // 8) % 8])
        for i, series in enumerate(attacks)
    }
    kinds = {point.kind for point in points}
    others = {GRADIENT_FREE: Look("#b9a27a", "||||", "*"), OBLIVIOUS: Look(WHITE, "", "d"), WORST: Look(INK, "", "D")}
    return {**found, **{kind: look for kind, look in others.items() if kind in kinds}}


def distinct(values: Iterable[str]) -> list[str]:
    """Each value once, in the order of the first."""
    return list(dict.fromkeys(values))


def shape(panels: int, most: int = 3) -> Shape:
    """A grid for so many panels, at most so many beside each other."""
    columns = 2 if panels == 4 else min(panels, most)
    return Shape(-(-panels // columns), columns)


def wrapped(name: str, width: int = _LABEL) -> str:
    """A name in lines that are not much longer than ``width``, broken where its parts end; nothing of it is cut."""
    if len(name) <= width:
        return plain(name)
    parts = name.split(" + ")
    marked = [f"{part} +" for part in parts[:-1]] + parts[-1:]
    return plain("\n".join(line for part in marked for line in _broken(part, width)))


def _broken(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` characters, broken after a blank, a hyphen, an underscore or a dot where there is one."""
    lines = [""]
    for token in re.findall(r"[^-_ .=]*[-_ .=]|[^-_ .=]+", text):
        pieces = [token[start : start + width] for start in range(0, len(token), width)]
        for piece in pieces:
            if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return [line.strip() for line in lines]


def marked(name: str, flagged: bool) -> str:
    """A name, and a flag beside it where something speaks against its numbers."""
    return f"{name} {FLAG}" if flagged else name


def explained(note: str, flagged: bool) -> str:
    """The note below a plot, and what a flag says where there is one."""
    return f"{note}\n{FLAGGED}" if flagged else note


def footnote(points: Sequence[Point]) -> str:
    """What the numbers are, for below a plot."""
    images = points[0].images
    return f"upper bounds; whiskers: 95 % interval over {images:,} image{'' if images == 1 else 's'}"


def eps_axis(axis: Axes, norm: str, radii: Iterable[float], apart: float) -> None:
    """Scale, ticks and name of an axis of eps from 0, with a grid.

    Args:
        axis: the panel.
        norm: "linf", "l2", "l1" or "l0".
        radii: eps of what is drawn, in [0, 1] units.
        apart: ticks are left out that would stand nearer than this share of the width.
    """
    ticks = sorted({0.0, *radii})
    largest = ticks[-1]
    axis.grid(visible=True)
    axis.set_xlim(-0.02 * largest, 1.03 * largest)
    of_255 = all(abs(255 * eps - round(255 * eps)) < 1e-9 for eps in ticks)
    names = [f"{255 * eps:.0f}/255" if of_255 and eps else f"{eps:g}" for eps in ticks]
    far = [0]
    for index, eps in enumerate(ticks):
        if eps - ticks[far[-1]] > apart * largest:
            far.append(index)
    axis.set_xticks([ticks[index] for index in far], [names[index] for index in far])
    axis.set_xlabel(f"eps ({norm.capitalize()}, images in [0, 1])")
