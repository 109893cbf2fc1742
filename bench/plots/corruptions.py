"""Accuracy under common corruptions: a heat map of corruption x severity for each row, and the curve over severities."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.metrics import estimates
from bench.plots.panels import distinct, wrapped
from bench.plots.saving import COLOURS, DASHES, INK, MARKERS, new_figure, plain
from bench.store.outcomes import RunOutcome

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = 3
_LINES = tuple(colour for colour in COLOURS if colour != "#F0E442")
"""Yellow is too light for a line."""
CLEAN = 0
"""In place of a severity: the images without corruption."""


class CorruptedPoint(NamedTuple):
    """One accuracy: a line of the frame. Accuracies are in %."""

    row: str
    corruption: str
    """empty where it is the mean over the corruptions"""
    severity: int
    """0: the clean images"""
    value: float
    low: float
    high: float
    images: int


def accuracies(outcome: RunOutcome) -> pd.DataFrame:
    """Every cell that is done, and the means over the corruptions, with the fields of :class:`CorruptedPoint` as columns.

    Args:
        outcome: the rows of a run.
    """
    import pandas as pd

    spec, points = outcome.record.suite.corruptions, list[CorruptedPoint]()
    for row in outcome.corrupted:
        points += [
            _point(row.label, cell.corruption, cell.severity, cell.correctness)
            for cell in row.cells
            if cell.status == "done"
        ]
        clean = row.clean_correctness
        if not np.isnan(clean).any():
            points.append(_point(row.label, "", CLEAN, clean))
        for severity in () if spec is None else spec.shared:
            cells = row.of(severity=severity)
            if all(cell.status == "done" for cell in cells):
                mean = np.mean([cell.correctness for cell in cells], axis=0)
                points.append(_point(row.label, "", severity, mean))
    return pd.DataFrame(points, columns=list(CorruptedPoint._fields))


def _point(
    label: str, corruption: str, severity: int, shares: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> CorruptedPoint:
    found = estimates.share(shares)
    value = 100 * float(shares.mean())
    low, high = (value if end is None else 100 * end for end in (found.low, found.high))
    return CorruptedPoint(label, corruption, severity, value, low, high, len(shares))


def points_of(frame: pd.DataFrame) -> list[CorruptedPoint]:
    """The lines of a frame."""
    return [
        CorruptedPoint(*line) for line in frame[list(CorruptedPoint._fields)].astype(object).itertuples(index=False)
    ]


def draw_cells(frame: pd.DataFrame) -> Figure | None:
    """The heat map: one panel per row, each with its numbers; ``None`` where no cell is done.

    Args:
        frame: :func:`accuracies`.
    """
    found = [point for point in points_of(frame) if point.corruption]
    if not found:
        return None
    labels, kinds = distinct(point.row for point in found), distinct(point.corruption for point in found)
    severities = sorted({point.severity for point in found})
    columns = min(_COLUMNS, len(labels))
    rows = -(-len(labels) // columns)
    figure = new_figure(1.3 + (0.9 + 0.48 * len(severities)) * columns, rows * (0.8 + 0.24 * len(kinds)) + 0.6)
    clean = {point.row: point.value for point in points_of(frame) if point.severity == CLEAN}
    for index, label in enumerate(labels):
        axis = figure.add_subplot(rows, columns, index + 1)
        _panel(axis, [point for point in found if point.row == label], kinds, severities)
        axis.set_yticklabels([kind.replace("_", " ") for kind in kinds] if index % columns == 0 else [])
        below = "" if label not in clean else f"\nclean {clean[label]:.1f} %"
        axis.set_title(wrapped(label, width=16 + 4 * len(severities)) + below, loc="left", fontsize=8.5)
    figure.supxlabel(f"severity; accuracy in % over {found[0].images:,} images (no attacker involved)", fontsize=7.5)
    return figure


def _panel(axis: Axes, own: list[CorruptedPoint], kinds: list[str], severities: list[int]) -> None:
    values = np.full((len(kinds), len(severities)), np.nan)
    for point in own:
        values[kinds.index(point.corruption), severities.index(point.severity)] = point.value
    axis.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        text = "–" if np.isnan(value) else f"{value:.0f}"
        colour = INK if np.isnan(value) or value > 55 else "white"
        axis.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    axis.set_xticks(range(len(severities)), [str(severity) for severity in severities])
    axis.set_yticks(range(len(kinds)))
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def draw_severities(frame: pd.DataFrame) -> Figure | None:
    """The mean over the corruptions against the severity, from the clean images on; ``None`` where there is no curve.

    Args:
        frame: :func:`accuracies`.
    """
    means = [point for point in points_of(frame) if not point.corruption]
    curves = {label: [p for p in means if p.row == label] for label in distinct(point.row for point in means)}
    curves = {label: sorted(own, key=lambda p: p.severity) for label, own in curves.items() if len(own) > 1}
    if not curves:
        return None
    figure = new_figure(6.4, 4.2)
    axis = figure.add_subplot()
    axis.grid(visible=True)
    for index, (label, own) in enumerate(curves.items()):
        x = [point.severity for point in own]
        colour = _LINES[index % len(_LINES)]
        axis.fill_between(x, [p.low for p in own], [p.high for p in own], color=colour, alpha=0.13, linewidth=0)
        axis.plot(x, [point.value for point in own], color=colour, linestyle=DASHES[index % len(DASHES)],
                  marker=MARKERS[index % len(MARKERS)], markersize=5, linewidth=1.4, label=plain(label))  # fmt: skip
    ticks = sorted({point.severity for own in curves.values() for point in own})
    axis.set_xticks(ticks, ["clean" if tick == CLEAN else str(tick) for tick in ticks])
    axis.set_ylim(0, 100)
    axis.set_xlabel("severity")
    axis.set_ylabel("accuracy, mean over the corruptions (%)")
    figure.legend(loc="outside lower center", ncols=2 if len(curves) > 1 else 1)
    count = len({point.corruption for point in points_of(frame) if point.corruption})
    figure.suptitle(
        f"{count} corruption{'s' * (count != 1)}; bands: 95 % interval over {means[0].images:,} images, each with all its "
        "variants",
        fontsize=7.5,
    )
    return figure
