"""Accuracy under common corruptions (Hendrycks & Dietterich 2019, arXiv:1903.12261): a table of its own.

A corrupted image is no adversarial example: nothing here enters a robust accuracy or a worst case. The 75 variants of an
image stand or fall together, so that every interval of a mean is over images, each with all its variants.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.leaderboard.records import CorruptionRow, CorruptionTable, PublishedCorruptionNumbers
from bench.metrics import estimates
from bench.store.corruption_outcomes import CorruptedCell, CorruptedRow, CorruptedStatus, FloatArray
from bench.store.outcomes import RunOutcome
from bench.store.published_corruptions import PublishedCorruptions
from bench.store.published_corruptions import corruption_table as published_table
from bench.store.records import Estimate
from bench.suites.corruptions import GROUPS, NAMES, CorruptionsSpec

ALEXNET: dict[str, float] = dict(
    zip(
        NAMES,
        (
            0.886428, 0.894468, 0.922640,
            0.819880, 0.826268, 0.785948, 0.798360,
            0.866816, 0.826572, 0.819324, 0.564592,
            0.853204, 0.646056, 0.717840, 0.606500,
        ),
        strict=True,
    )
)  # fmt: skip
"""AlexNet's error on ImageNet-C, mean over the severities: table 1 of the paper, with the digits of its authors' code."""
_WORST_FIRST: tuple[CorruptedStatus, ...] = ("error", "unavailable", "missing", "partial", "done")
_FILES = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C", "imagenet": "ImageNet-C"}
_ROBUSTBENCH = {"cifar10": 10_000, "cifar100": 10_000, "imagenet": 5_000}
"""How many images a number on its leaderboards is made of."""


def corruption_table(outcome: RunOutcome) -> CorruptionTable | None:
    """The table of a run; ``None`` where its suite has no corruptions.

    Args:
        outcome: the rows of the run.
    """
    spec = outcome.record.suite.corruptions
    if spec is None:
        return None
    dataset = outcome.record.suite.dataset.name
    rows = [_row(row, spec, dataset) for row in outcome.corrupted]
    ordered = sorted(rows, key=lambda row: -1.0 if row.accuracy is None else -(row.accuracy.value or 0.0) - 2.0)
    return CorruptionTable(
        published_images=spec.path is not None,
        complete=spec.complete,
        corruptions=tuple(kind.name for kind in spec.kinds),
        severities=spec.severities,
        shared=spec.shared,
        note=_note(outcome, spec, dataset),
        rows=tuple(ordered),
    )


def _row(row: CorruptedRow, spec: CorruptionsSpec, dataset: str) -> CorruptionRow:
    status = min((cell.status for cell in row.cells), key=_WORST_FIRST.index)
    done = status == "done"
    kinds = [kind.name for kind in spec.kinds]
    clean = row.clean_correctness
    each = {kind: _mean(row.of(corruption=kind)) for kind in kinds if _all_done(row.of(corruption=kind))}
    overall = np.mean(list(each.values()), axis=0) if done else None
    accuracy = None if overall is None else estimates.share(overall)
    normalised = done and dataset == "imagenet" and spec.path is not None and spec.complete
    return CorruptionRow(
        model=row.model,
        defense=row.defense,
        status=status,
        reason=next((cell.reason for cell in row.cells if cell.status == status), ""),
        clean=None if np.isnan(clean).any() else estimates.share(clean),
        accuracy=accuracy,
        drop=None if overall is None else estimates.mean(clean - overall),
        mce=estimates.mean(_relative_error(each)) if normalised else None,
        by_group={
            group: estimates.share(np.mean([each[kind] for kind in members], axis=0))
            for group, names in GROUPS.items()
            if (members := [kind for kind in kinds if kind in names]) and all(kind in each for kind in members)
        },
        by_corruption={kind: estimates.share(shares) for kind, shares in each.items()},
        by_severity={
            severity: estimates.share(_mean(row.of(severity=severity)))
            for severity in spec.shared
            if _all_done(row.of(severity=severity))
        },
        cells={
            kind: {
                cell.severity: estimates.share(cell.correctness)
                for cell in row.of(corruption=kind)
                if cell.status == "done"
            }
            for kind in kinds
        },
        published=_published(row, spec, accuracy),
        seconds=sum(cell.result.seconds for cell in row.cells if cell.result is not None),
    )


def _all_done(cells: Sequence[CorruptedCell]) -> bool:
    return all(cell.status == "done" for cell in cells)


def _mean(cells: Sequence[CorruptedCell]) -> FloatArray:
    """For each image the mean over these cells, shape (N,)."""
    mean: FloatArray = np.mean([cell.correctness for cell in cells], axis=0)
    return mean


def _relative_error(each: dict[str, FloatArray]) -> FloatArray:
    """For each image its share of the mean corruption error, shape (N,): errors relative to AlexNet's mean error."""
    relative: FloatArray = np.mean([(1 - shares) / ALEXNET[kind] for kind, shares in each.items()], axis=0)
    return relative


def _published(
    row: CorruptedRow, spec: CorruptionsSpec, accuracy: Estimate | None
) -> PublishedCorruptionNumbers | None:
    """The entry of a bare model, where the images and the mean are those of the leaderboard."""
    if not row.bare or spec.path is None or not spec.complete:
        return None
    found = _entry(row)
    if found is None:
        return None
    known = round(found.corruptions / 100, 6)
    return PublishedCorruptionNumbers(
        entry=found.entry,
        clean=round(found.clean / 100, 6),
        accuracy=known,
        mce=None if found.mce is None else round(found.mce / 100, 6),
        difference=None if accuracy is None or accuracy.value is None else accuracy.value - known,
        link=found.link,
    )


def _entry(row: CorruptedRow) -> PublishedCorruptions | None:
    for cell in row.cells:
        entry = None if cell.result is None else cell.result.provenance.get("published")
        if entry and str(entry[1]).lower() == "corruptions":
            return published_table().get((str(entry[0]), str(entry[2])))
    return None


def _note(outcome: RunOutcome, spec: CorruptionsSpec, dataset: str) -> str:
    """Whose images these are, and what the numbers can be compared with."""
    if spec.path is None:
        made = _made_by(outcome)
        known = _FILES.get(dataset)
        other = f"not {known}, " if known else ""
        return (
            f"images made by {made} from the suite's own, with ImageNet-C's parameters and in 8 bits: {other}not comparable "
            "with published numbers"
        )
    name = _FILES.get(dataset, dataset)
    if not spec.complete:
        return f"the published {name}, not all of its 15 corruptions at 5 severities: not RobustBench's mean"
    note = (
        f"the published {name}, the mean over 15 corruptions at 5 severities as on RobustBench's corruption leaderboard"
    )
    wanted = _ROBUSTBENCH.get(dataset)
    return note if outcome.samples == wanted else f"{note}, on {outcome.samples:,} of its {wanted:,} images"


def _made_by(outcome: RunOutcome) -> str:
    for row in outcome.corrupted:
        for cell in row.cells:
            facts = {} if cell.result is None else cell.result.provenance.get("facts", {})
            versions = facts.get("corruption", {}).get("made_by", {})
            for name, version in list(versions.items())[:1]:
                return f"{name} {version}"
    return "a library"
