"""Labels beside points that cover neither each other nor the points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from bench.plots.saving import INK, plain

_DISTANCES = (5.0, 8.0, 12.0, 18.0, 26.0, 36.0, 48.0, 64.0, 84.0, 110.0)
_ANGLES = (0, 45, 315, 90, 270, 135, 225, 180, 22, 338, 67, 293, 112, 248, 157, 203)
_POINT = 4.0
"""Half the side of the square that a point takes, in typographic points."""
_FAR = 11.0
"""A label that is farther from its point gets a line, in typographic points."""

Boxes = npt.NDArray[np.float64]
"""Left, bottom, right, top of each box, shape (M, 4)."""


class Labelled(NamedTuple):
    """A point and what stands beside it."""

    x: float
    y: float
    text: str


def place(axis: Axes, points: Sequence[Labelled], whiskers: Sequence[tuple[float, float, float, float]] = ()) -> None:
    """Writes a label beside every point of a panel whose layout is final.

    Each label takes the free place that is nearest to its point, and gets a thin line where that is far. The crowded
    points choose first.

    Args:
        axis: the panel.
        points: positions in data coordinates.
        whiskers: left, bottom, right, top of lines that labels should rather not cross, in data coordinates.
    """
    figure = axis.figure
    if not points or not isinstance(figure, Figure):
        return
    scale = figure.dpi / 72
    centres = axis.transData.transform(np.array([[point.x, point.y] for point in points])) / scale
    taken: Boxes = np.hstack([centres - _POINT, centres + _POINT])
    soft = _boxes(axis, whiskers, scale)
    inside = np.array(axis.get_window_extent().extents) / scale
    for index in _crowded_first(centres):
        label = _text(axis, points[index])
        size = np.array(label.get_window_extent().size) / scale
        offset, box = _free(centres[index], size, taken, soft, inside)
        taken = np.vstack([taken, box])
        label.set_position((float(offset[0]), float(offset[1])))
        near = np.clip(np.zeros(2), offset - size / 2, offset + size / 2)
        if np.hypot(*near) > _FAR:
            _line(axis, points[index], near)


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Positions near the values that lie at least ``gap`` apart, in the same order.

    Args:
        values: positions.
        gap: smallest distance between neighbours.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    groups: list[tuple[list[int], float]] = []
    for index in order:
        groups.append(([index], values[index]))
        while len(groups) > 1 and groups[-1][1] - groups[-2][1] < gap * (len(groups[-1][0]) + len(groups[-2][0])) / 2:
            (upper, _), (lower, _) = groups.pop(), groups.pop()
            members = lower + upper
            groups.append((members, sum(values[member] for member in members) / len(members)))
    result = [0.0] * len(values)
    for members, centre in groups:
        for place_, member in enumerate(members):
            result[member] = centre + gap * (place_ - (len(members) - 1) / 2)
    return result


def _text(axis: Axes, point: Labelled) -> Text:
    return axis.annotate(
        plain(point.text), (point.x, point.y), (0, 0), textcoords="offset points", ha="center", va="center",
        fontsize=7.5, color=INK, annotation_clip=False, zorder=5,
    )  # fmt: skip


def _line(axis: Axes, point: Labelled, near: npt.NDArray[np.float64]) -> None:
    """From the point to the nearest edge of the label's box."""
    axis.annotate(
        "", (point.x, point.y), (float(near[0]), float(near[1])), textcoords="offset points", annotation_clip=False,
        arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}, zorder=1.5,
    )  # fmt: skip


def _boxes(axis: Axes, whiskers: Sequence[tuple[float, float, float, float]], scale: float) -> Boxes:
    if not whiskers:
        return np.zeros((0, 4))
    corners = np.array(whiskers, dtype=float)
    low, high = (axis.transData.transform(corners[:, half]) / scale for half in ([0, 1], [2, 3]))
    return np.hstack([low - 0.7, high + 0.7])


def _crowded_first(centres: npt.NDArray[np.float64]) -> list[int]:
    distances = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1))
    neighbours = (distances < 40).sum(axis=1)
    return sorted(range(len(centres)), key=lambda index: (-neighbours[index], index))


def _free(
    centre: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
    taken: Boxes,
    soft: Boxes,
    inside: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], Boxes]:
    """The best place for a label: its offset from the point, and its box."""
    best = (math.inf, np.zeros(2), np.zeros(4))
    for distance in _DISTANCES:
        for preference, angle in enumerate(_ANGLES):
            direction = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
            offset = direction * (distance + size / 2)
            box = np.concatenate([centre + offset - size / 2 - 0.5, centre + offset + size / 2 + 0.5])
            outside = bool((box[:2] < inside[:2]).any() or (box[2:] > inside[2:]).any())
            cost = (
                1000 * _overlaps(box, taken) + 25 * _overlaps(box, soft) + 500 * outside + distance + 0.1 * preference
            )
            if cost < best[0]:
                best = (cost, offset, box)
        if best[0] < distance:
            break
    return best[1], best[2]


def _overlaps(box: npt.NDArray[np.float64], others: Boxes) -> int:
    apart = (others[:, 2] <= box[0]) | (others[:, 0] >= box[2]) | (others[:, 3] <= box[1]) | (others[:, 1] >= box[3])
    return int((~apart).sum())
