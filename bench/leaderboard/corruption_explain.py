"""How the mean accuracy of a row under common corruptions came about."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.leaderboard.explanation import CorruptedExplained
from bench.leaderboard.grid import percent
from bench.leaderboard.records import CorruptionTable
from bench.leaderboard.sentences import shown
from bench.store.corruption_outcomes import CorruptedRow
from bench.store.outcomes import RunOutcome
from bench.suites.declared import declared


def corrupted_explained(outcome: RunOutcome, table: CorruptionTable, row: CorruptedRow) -> CorruptedExplained:
    """One row, as data.

    Args:
        outcome: the run's rows.
        table: the table that has the row's numbers.
        row: its verdicts.
    """
    numbers = next(one for one in table.rows if (one.model, one.defense) == (row.model, row.defense))
    spec = outcome.record.suite.corruptions
    result = next((cell.result for cell in row.cells if cell.result is not None), None)
    stochastic = result is not None and declared(result.defense).stochastic
    done = [cell for cell in row.cells if cell.status == "done"]
    flags = dict.fromkeys(flag.rule for cell in done if cell.result is not None for flag in cell.result.flags)
    return CorruptedExplained(
        numbers=numbers,
        corruptions=table.corruptions,
        severities=table.severities,
        images=table.note,
        seed=None if spec is None or spec.path is not None else spec.seed,
        draws=result.defense.scoring_draws if result is not None and stochastic else None,
        cells=len(row.cells),
        judged=sum(int((~np.isnan(cell.correctness)).sum()) for cell in done),
        always=int(np.all([cell.correctness == 1 for cell in done], axis=0).sum()) if row.complete else None,
        failures=tuple(
            f"{cell.corruption} {cell.severity}: {cell.status}: {' '.join(cell.reason.split())}"
            for cell in row.cells
            if cell.status != "done"
        ),
        flags=tuple(flags),
    )


def sections(found: CorruptedExplained) -> Iterator[tuple[str, list[str]]]:
    """What there is to tell of a row, by heading."""
    yield "What was measured", list(_measured(found))
    yield "Mean", list(_mean(found))
    yield "Corruptions", list(_each(found))
    yield "Published", list(_published(found))
    yield "Without a number", list(found.failures)
    yield "Flags", [", ".join(found.flags)] if found.flags else []


def heading(found: CorruptedExplained) -> str:
    """What came out, in a line."""
    numbers = found.numbers
    name = numbers.model if numbers.defense == "none" else f"{numbers.model} + {numbers.defense}"
    mean = f"mean accuracy {shown(numbers.accuracy)}" if numbers.accuracy is not None else f"no mean: {numbers.status}"
    return f"{name} under common corruptions: {mean}, no attacker involved"


def _measured(found: CorruptedExplained) -> Iterator[str]:
    count, severities = len(found.corruptions), ", ".join(map(str, found.severities))
    yield (
        f"{found.judged:,} corrupted images of {found.cells} cells, one cell for each of {count} corruption"
        f"{'s' * (count != 1)} at severities {severities}. Each is one forward pass in float32; an image is right where the "
        "predicted class is its label, and wrong where the defense rejects it."
    )
    if found.draws is not None:
        yield f"The defense is random: each image counts with the share of {found.draws} fresh draws in which it is right."
    seed = "" if found.seed is None else f" (seed {found.seed})"
    yield f"{found.images[:1].upper()}{found.images[1:]}{seed}."


def _mean(found: CorruptedExplained) -> Iterator[str]:
    numbers = found.numbers
    yield f"Clean: {shown(numbers.clean)}."
    yield f"Corrupted, the mean over the corruptions of the mean over their severities: {shown(numbers.accuracy)}."
    if numbers.drop is not None and numbers.drop.value is not None:
        yield f"Drop: {percent(numbers.drop.value)} points. Intervals are over images, each with all its variants."
    if numbers.mce is not None:
        yield f"mCE (errors relative to AlexNet's): {shown(numbers.mce)}."
    if found.always is not None:
        yield f"{found.always:,} images are right in every variant."


def _each(found: CorruptedExplained) -> Iterator[str]:
    for kind in found.corruptions:
        cells = found.numbers.cells.get(kind, {})
        single = ", ".join(f"{severity}: {percent(one.value or 0.0)}" for severity, one in cells.items())
        yield f"{kind}: {shown(found.numbers.by_corruption.get(kind))} (by severity {single or 'none'})"


def _published(found: CorruptedExplained) -> Iterator[str]:
    known = found.numbers.published
    if known is None:
        return
    yield f"RobustBench gives {known.entry} {100 * known.clean:.2f} % clean and {100 * known.accuracy:.2f} % under corruptions."
    if known.difference is not None:
        yield f"Here: {100 * known.difference + 0.0:+.1f} points."
