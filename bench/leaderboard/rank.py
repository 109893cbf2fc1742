"""Ranks: which rows a paired test can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

from bench.stats import holm, paired, rank_ranges
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


def inseparable(rows: Sequence[RowOutcome], alpha: float = 0.05) -> dict[str, tuple[str, ...]]:
    """By label of each complete row, the other complete rows that the same tests can't tell from it.

    Args:
        rows: those of one table.
        alpha: family-wise error rate.
    """
    complete = [row for row in rows if row.complete]
    pairs = [(one, other) for place, one in enumerate(complete) for other in complete[place + 1 :]]
    adjusted = holm([paired(one.worst_correctness, other.worst_correctness) for one, other in pairs])
    found: dict[str, tuple[str, ...]] = {row.label: () for row in complete}
    for (one, other), p in zip(pairs, adjusted, strict=True):
        if p >= alpha:
            found[one.label] += (other.label,)
            found[other.label] += (one.label,)
    return found


def _order(row: RowOutcome) -> tuple[bool, bool, float, float, str]:
    return (
        not row.complete,
        not row.known.any(),
        -float(row.worst_correctness.sum()),
        -float(row.clean_correctness.sum()),
        row.label.lower(),
    )
