"""Ranks: which rows a paired test can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

from bench.stats import rank_ranges
from bench.store.outcomes import RowOutcome


def ranked(rows: Sequence[RowOutcome]) -> list[tuple[RowOutcome, tuple[int, int] | None]]:
    """The rows in the order of the table, each with its range of ranks.

    Complete rows come first, by worst case, then clean accuracy, then name; the ranges are those that all-pairs McNemar
    tests with Holm's correction leave (:func:`bench.stats.rank_ranges`). Rows with a missing, failed or invalid cell
    follow without a rank, in the same order of what is known of them, and those of which nothing is known come last.
    """
    complete = [row for row in rows if row.complete]
    ranges = rank_ranges([row.worst_correctness for row in complete])
    found = {id(row): span for row, span in zip(complete, ranges, strict=True)}
    return [(row, found.get(id(row))) for row in sorted(rows, key=_order)]


def _order(row: RowOutcome) -> tuple[bool, bool, float, float, str]:
    return (
        not row.complete,
        not row.known.any(),
        -float(row.worst_correctness.sum()),
        -float(row.clean_correctness.sum()),
        row.label.lower(),
    )
