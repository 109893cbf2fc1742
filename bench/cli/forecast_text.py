"""A plan for given devices, and what a run took beside it, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.runner.planning.record import CellForecast, Forecast, Range
    from bench.runner.planning.taken import Comparison

NOT_COUNTED = "Not counted: the start of bench and Ray, the training of recipes, the audit, tables and plots."

HOLDS_UP = 0.5
"""A shard of this share of the wall time keeps the other devices waiting."""


def text(found: Forecast) -> str:
    """All of a forecast.

    Args:
        found: the forecast.
    """
    from tabulate import tabulate

    cells = [(cell.label, cell.state, f"{cell.samples:,}", _spread(cell.seconds), cell.known) for cell in found.cells]
    rows = [(row.label, _sum(row.seconds, row.unknown)) for row in found.rows]
    headers = ("cell", "state", "samples to do", "device time", "passes known from")
    tables = (
        tabulate(cells, headers=headers, disable_numparse=True),
        tabulate(rows, headers=("row", "device time"), disable_numparse=True),
    )
    return "\n\n".join((*tables, "\n".join(_sums(found))))


def _sums(found: Forecast) -> list[str]:
    hours = found.seconds
    lines = [f"{one.count} x {one.kind}: {one.origin}, {one.source}" for one in found.devices]
    lines.append(
        f"device time {_sum(hours, found.unknown)} = {_hours(hours)} device-hours; "
        f"wall time {_sum(found.wall, found.unknown)}"
    )
    if found.busy is not None and sum(one.count for one in found.devices) > 1:
        lines.append(
            f"devices work {100 * found.busy:.0f} % of that time; the last to end: {found.last}, whose longest shard takes "
            f"{duration(found.longest)}"
        )
        if found.longest > HOLDS_UP * found.wall.likely:
            lines[-1] += " (with a smaller run.shard_size several devices share it)"
    if any(_only_bounded(cell) for cell in found.cells):
        lines.append(
            "Where passes are known from the budget alone, the low bound breaks every image at once and the high one breaks "
            "none: --pilot 32 attacks 32 images first."
        )
    return [*lines, NOT_COUNTED]


def _only_bounded(cell: CellForecast) -> bool:
    return cell.seconds is not None and cell.seconds.middle is None


def compared(found: Comparison) -> str:
    """What a run took, beside what was expected.

    Args:
        found: at least one cell.
    """
    from tabulate import tabulate

    cells = [
        (cell.label, _spread(cell.expected), duration(cell.taken), _factor(cell.expected, cell.taken))
        for cell in found.cells
    ]
    cells.append(("together", _spread(found.expected), duration(found.taken), _factor(found.expected, found.taken)))
    table = tabulate(cells, headers=("cell", "estimated", "taken", "taken / estimated"), disable_numparse=True)
    left = f"; {found.left} planned cells aren't finished" if found.left else ""
    lines = [
        f"Estimated {found.planned[:16].replace('T', ' ')} UTC for {found.devices}; taken on {', '.join(found.on)}{left}."
    ]
    if found.wall is not None and found.wall_taken is not None:
        lines.append(f"Wall time: estimated {_spread(found.wall)}, taken {duration(found.wall_taken)}.")
    return f"{table}\n\n" + "\n".join(lines)


def duration(seconds: float) -> str:
    """For people, two digits or more: ``0.4 s``, ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5970:
        return f"{seconds / 60:.1f} min" if seconds < 597 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _spread(found: Range | None) -> str:
    if found is None:
        return "?"
    bounds = f"{duration(found.low)} – {duration(found.high)}"
    if found.high == 0:
        return duration(0.0)
    return bounds if found.middle is None else f"{duration(found.middle)} ({bounds})"


def _hours(found: Range) -> str:
    bounds = f"{found.low / 3600:.3g} – {found.high / 3600:.3g}"
    return bounds if found.middle is None else f"{found.middle / 3600:.3g} ({bounds})"


def _sum(known: Range, unknown: int) -> str:
    """A sum, and how many cells aren't in it."""
    cells = f"{unknown} cell{'s' * (unknown != 1)} of which nobody knows"
    if not unknown:
        return _spread(known)
    return f"{_spread(known)} and {cells}" if known.high else cells


def _factor(expected: Range, taken: float) -> str:
    if expected.middle is None:
        inside = expected.low <= taken <= expected.high
        return "between the bounds" if inside else "outside the bounds"
    return f"{taken / expected.middle:.2f}" if expected.middle else "?"
