"""The tables under common corruptions as grids of texts, in the words of one format."""

from __future__ import annotations

from collections.abc import Callable

from bench.leaderboard.grid import Grid, Words, percent
from bench.leaderboard.records import CorruptionRow, CorruptionTable, Leaderboard
from bench.store.records import Estimate

_Column = tuple[str, str, Callable[[CorruptionRow], str]]


def corruption_heading(board: Leaderboard, table: CorruptionTable) -> str:
    """The line above the table: what was measured, on what, and how to read it."""
    images = f"{board.images:,} image{'s' * (board.images != 1)}"
    count, severities = len(table.corruptions), ", ".join(map(str, table.severities))
    plural = "ies" if len(table.severities) != 1 else "y"
    parts = [
        "Common corruptions",
        f"{board.dataset}, {images}",
        f"{count} corruption{'s' * (count != 1)} at severit{plural} {severities}"
        + (" (not every one at each)" if table.shared != table.severities else ""),
        "accuracy in %, no attacker involved (95 % interval over images, each with all its variants)",
        "drop: clean less corrupted, in points",
        table.note,
    ]
    if any(row.mce for row in table.rows):
        parts.append("mCE: corruption error relative to AlexNet's, in %")
    if any(row.published for row in table.rows):
        parts.append("published: RobustBench's clean / corrupted")
    return " · ".join(parts)


def corruption_grid(table: CorruptionTable, words: Words) -> Grid:
    """Means per row: over all, and over the four groups.

    Args:
        table: the table.
        words: how the format writes.
    """
    columns: list[_Column] = [
        *_names(words),
        ("clean", "right", lambda row: _estimate(row.clean, words)),
        ("corrupted", "right", lambda row: _overall(row, words)),
        ("drop", "right", lambda row: _estimate(row.drop, words)),
    ]
    if any(row.mce for row in table.rows):
        columns.append(("mCE", "right", lambda row: _estimate(row.mce, words)))
    if any(row.published for row in table.rows):
        columns.append(("published", "right", lambda row: _published(row, words)))
        columns.append(("difference", "right", lambda row: _difference(row, words)))
    groups = dict.fromkeys(group for row in table.rows for group in row.by_group)
    columns += [(group, "right", _of_group(group, words)) for group in groups]
    return _grid(table, columns)


def severity_grid(table: CorruptionTable, words: Words) -> Grid | None:
    """Means over the corruptions by severity; ``None`` where there are fewer than two that all have."""
    if len(table.shared) < 2:
        return None
    columns = [*_names(words), ("clean", "right", lambda row: _estimate(row.clean, words, interval=False))]
    return _grid(table, [*columns, *((str(one), "right", _of_severity(one, words)) for one in table.shared)])


def failures(table: CorruptionTable) -> list[str]:
    """Why rows have no mean, a line each."""
    return [
        f"{row.model}{'' if row.defense == 'none' else f' + {row.defense}'}: {row.status}: {row.reason}"
        for row in table.rows
        if row.status != "done"
    ]


def by_corruption_grid(table: CorruptionTable, words: Words) -> Grid:
    """One line per corruption, one column per row of the table: the mean over the severities."""
    labels = [row.model if row.defense == "none" else f"{row.model} + {row.defense}" for row in table.rows]
    lines = [
        (words.escape(kind), *(_estimate(row.by_corruption.get(kind), words, interval=False) for row in table.rows))
        for kind in table.corruptions
    ]
    return Grid(("corruption", *map(words.escape, labels)), ("left", *("right" for _ in labels)), tuple(lines))


SEVERITY = "Mean accuracy over the corruptions, by severity; in %"
BY_CORRUPTION = "Mean accuracy over the severities, by corruption; in %"


def _names(words: Words) -> list[_Column]:
    return [
        ("model", "left", lambda row: words.escape(row.model)),
        ("defense", "left", lambda row: words.escape(row.defense)),
    ]


def _grid(table: CorruptionTable, columns: list[_Column]) -> Grid:
    return Grid(
        tuple(header for header, _, _ in columns),
        tuple(side for _, side, _ in columns),
        tuple(tuple(text(row) for _, _, text in columns) for row in table.rows),
    )


def _of_group(group: str, words: Words) -> Callable[[CorruptionRow], str]:
    return lambda row: _estimate(row.by_group.get(group), words, interval=False)


def _of_severity(severity: int, words: Words) -> Callable[[CorruptionRow], str]:
    return lambda row: _estimate(row.by_severity.get(severity), words)


def _overall(row: CorruptionRow, words: Words) -> str:
    return _estimate(row.accuracy, words) if row.status == "done" else row.status


def _estimate(estimate: Estimate | None, words: Words, *, interval: bool = True) -> str:
    if estimate is None or estimate.value is None:
        return words.dash
    text = percent(estimate.value)
    if not interval or estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({percent(estimate.low)}{words.dash}{percent(estimate.high)})"


def _published(row: CorruptionRow, words: Words) -> str:
    if row.published is None:
        return words.dash
    return f"{100 * row.published.clean:.2f} / {100 * row.published.accuracy:.2f}"


def _difference(row: CorruptionRow, words: Words) -> str:
    if row.published is None or row.published.difference is None:
        return words.dash
    return f"{round(100 * row.published.difference, 1) + 0.0:+.1f}".replace("-", words.minus)
