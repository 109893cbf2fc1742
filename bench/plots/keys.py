"""A key for points that have a number in place of a name."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from bench.plots.saving import INK, plain

LINE = 0.15
"""Height of a line of the key in inches."""
_LETTER = 0.066


def columns(names: Sequence[str], height: float) -> list[list[str]]:
    """The names in columns, each with its number from 1.

    Args:
        names: what the numbers stand for.
        height: inches that there are.
    """
    lines = max(1, int(height / LINE))
    numbered = [f"{index}  {name}" for index, name in enumerate(names, start=1)]
    return [numbered[start : start + lines] for start in range(0, len(names), lines)]


def width(columns: Sequence[Sequence[str]]) -> float:
    """Inches that a key takes; 0 where it is empty."""
    return _LETTER * sum(_widths(columns))


def draw(axis: Axes, columns: Sequence[Sequence[str]]) -> None:
    """The names behind the numbers, in their order.

    Args:
        axis: a panel that holds nothing else.
        columns: as :func:`columns` makes them.
    """
    axis.set_axis_off()
    widths = _widths(columns)
    for index, column in enumerate(columns):
        left = sum(widths[:index]) / sum(widths)
        for line, text in enumerate(column):
            number, name = text.split("  ", 1)
            y = 1 - (line + 0.5) / max(20, len(columns[0]))
            axis.text(left + 2.2 / sum(widths), y, number, ha="right", va="center", fontsize=7, color=INK)
            axis.text(left + 3.4 / sum(widths), y, plain(name), ha="left", va="center", fontsize=7, color=INK)


def _widths(columns: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) + 3 for column in columns]
