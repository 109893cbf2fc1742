"""What the numbers can carry: known clean accuracies, sample sizes, ranks, cells that failed."""

from __future__ import annotations

from collections.abc import Iterable

from bench.audit.evidence import CannotCheck, NotMeant, RowEvidence, TableEvidence
from bench.audit.rule import Found
from bench.stats import binomial_two_sided, rank_ranges, wilson
from bench.store import published

FAR = 0.001
"""A clean accuracy this improbable under the published one is flagged."""
GUESSES = 50
"""Images from which a clean accuracy no better than chance is no accident of a weak model."""
WIDE = 0.15
"""Half the width of an interval from which a number says next to nothing."""


def published_clean(row: RowEvidence) -> Iterable[Found]:
    """The clean accuracy of a bare model against the one that RobustBench has published for it."""
    if not row.row.bare:
        raise NotMeant
    entries = [cell.result.provenance.get("published") for cell in row.row.cells if cell.result is not None]
    entry = next((one for one in entries if one), None)
    if entry is None:
        raise CannotCheck("there is no published clean accuracy")
    dataset, threat_model, name = map(str, entry)
    found = published.table().get((dataset.lower(), threat_model.lower(), name))
    if found is None:
        raise CannotCheck("there is no published clean accuracy")
    correct, n = int(row.row.clean_correct.sum()), int(row.row.known.sum())
    if binomial_two_sided(correct, n, found.clean / 100) < FAR:
        text = (
            f"clean accuracy {100 * correct / n:.1f} % is far from the published {found.clean:g} %: other weights, "
            "preprocessing or images?"
        )
        yield Found("warning", text, (), {"correct": correct, "n": n, "published": found.clean})


def no_better_than_chance(row: RowEvidence) -> Iterable[Found]:
    """Bare models that are right no more often than who always answers with the commonest label: another model's labels,
    classes or preprocessing.
    """
    finished = row.done("suite")
    if not row.row.bare or not finished:
        raise NotMeant
    labels = row.frame(finished[0])["label"]
    correct, n, most = int(row.row.clean_correct.sum()), len(labels), int(labels.value_counts().max())
    if n >= GUESSES and correct <= most:
        text = (
            f"clean accuracy {100 * correct / n:.1f} %, no better than one answer to every image ({100 * most / n:.1f} %): are "
            "these the labels, the classes and the preprocessing that the model was trained with?"
        )
        yield Found("warning", text, (), {"correct": correct, "n": n, "commonest": most})


def failed(row: RowEvidence) -> Iterable[Found]:
    """Attacks that raised: their cells have no number."""
    for cell in row.row.cells:
        if cell.status == "error":
            yield Found("invalid", f"{cell.attack} has no number, because it failed: {cell.reason}", (cell.id,))


def few_samples(table: TableEvidence) -> Iterable[Found]:
    """Intervals so wide that the numbers say next to nothing."""
    if not table.rows:
        raise CannotCheck("there are no rows")
    n = len(table.rows[0].row.clean_correct)
    interval = wilson(n // 2, n)
    half = (interval.high - interval.low) / 2
    if half > WIDE:
        text = f"{n} images: a robust accuracy near 50 % is known to ±{100 * half:.0f} points only"
        yield Found("warning", text, (), {"n": n, "half_width": half})


def not_separable(table: TableEvidence) -> Iterable[Found]:
    """Rows whose order the images don't carry."""
    rows = [row.row for row in table.rows if row.row.complete]
    if len(rows) < 2:
        raise CannotCheck("fewer than two rows are ranked")
    ranges = rank_ranges([row.worst_correctness for row in rows])
    shared = [row.label for row, (low, high) in zip(rows, ranges, strict=True) if low != high]
    if shared:
        text = (
            f"{len(shared)} of {len(rows)} rows share a range of ranks: on {len(rows[0].clean_correct)} images, "
            "all-pairs McNemar tests with Holm's correction can't tell them apart from others"
        )
        yield Found("info", text, (), {"rows": shared})
