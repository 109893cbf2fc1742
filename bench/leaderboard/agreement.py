"""Where the same attack of several libraries differs: attacks of one ``group``, on the same images of the same row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from bench.leaderboard.grid import Grid, Words, percent
from bench.leaderboard.records import Agreed
from bench.stats import holm, mcnemar, wilson
from bench.store.cell_outcome import CellOutcome
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.records import Estimate

AGREEMENT = (
    "Agreement of libraries. Attacks of one group are the same attack; more and less: images that an attack broke and the "
    "first of its group didn't, and the other way round; ≠: the two differ by McNemar's exact test with Holm's correction at "
    "0.05. Distance: median over the images that are classified correctly, of minimum-norm attacks. Passes and time are for "
    "each image. ≤: something marks the number as invalid; the notes of the leaderboard say what."
)


def agreement(outcome: RunOutcome) -> tuple[Agreed, ...]:
    """The lines of every group that has at least two attacks in a row, beside the first of them.

    Args:
        outcome: the rows of a run.
    """
    found = [line for row in outcome.rows for group in _groups(row) for line in _lines(row, *group)]
    tested = [place for place, line in enumerate(found) if line.p is not None]
    adjusted = holm([float(found[place].p or 0) for place in tested])
    for place, p in zip(tested, adjusted, strict=True):
        found[place] = found[place].model_copy(update={"p_holm": p})
    return tuple(found)


def frame(outcome: RunOutcome) -> pd.DataFrame:
    """``agreement.csv``: a line per attack of a group, empty without groups.

    Args:
        outcome: the rows of a run.
    """
    lines = []
    for one in agreement(outcome):
        line = one.model_dump(exclude={"robust"})
        robust = one.robust
        line["robust_accuracy"] = None if robust is None else robust.value
        line["low"], line["high"] = (None, None) if robust is None else (robust.low, robust.high)
        lines.append(line)
    return pd.DataFrame(lines)


def _groups(row: RowOutcome) -> Iterator[tuple[str, list[CellOutcome]]]:
    """The cells of each group, in the suite's order, for each role and seed."""
    found: dict[tuple[str, str, int], list[CellOutcome]] = {}
    for cell in row.cells:
        spec = None if cell.result is None else cell.result.attack
        if spec is not None and spec.group and cell.role == "suite":
            found.setdefault((spec.group, cell.role, cell.seed), []).append(cell)
    for (group, _, seed), cells in found.items():
        if len(cells) > 1:
            yield group if not seed else f"{group} (seed {seed})", cells


def _lines(row: RowOutcome, group: str, cells: Sequence[CellOutcome]) -> Iterator[Agreed]:
    first = cells[0]
    for cell in cells:
        line = Agreed(
            threat_model=row.threat_model.label, model=row.model, defense=row.defense, group=group, attack=cell.attack,
            reference=cell is first, status=cell.status, reason=cell.reason,
        )  # fmt: skip
        if cell.status != "done":
            yield line
            continue
        line = line.model_copy(update={**_numbers(cell), "valid": cell.valid})
        if cell is not first and first.status == "done":
            here, there = cell.clean_correct & cell.robust, first.clean_correct & first.robust
            more, less = int((there & ~here).sum()), int((here & ~there).sum())
            line = line.model_copy(update={"more": more, "less": less, "p": mcnemar(here, there)})
        yield line


def _numbers(cell: CellOutcome) -> dict[str, object]:
    robust = cell.clean_correct & cell.robust
    n = len(robust)
    interval = wilson(int(robust.sum()), n)
    found: dict[str, object] = {
        "robust": Estimate(value=float(robust.mean()), low=interval.low, high=interval.high, n=n)
    }
    distances = cell.minimal_distance[cell.clean_correct]
    if len(distances) and not np.isnan(distances).all():
        found["median_distance"] = float(np.median(distances[~np.isnan(distances)]))
    cost = None if cell.result is None else cell.result.cost
    if cost is not None:
        found.update(forwards=cost.forwards / n, backwards=cost.backwards / n, seconds=cost.seconds / n)
    return found


def by_threat_model(lines: Sequence[Agreed]) -> Iterator[tuple[str, list[Agreed]]]:
    """The lines of each threat model.

    Args:
        lines: :func:`agreement`.
    """
    for name in dict.fromkeys(line.threat_model for line in lines):
        yield name, [line for line in lines if line.threat_model == name]


def agreement_grid(lines: Sequence[Agreed], words: Words) -> Grid:
    """The lines of one threat model as texts.

    Args:
        lines: some of :func:`agreement`.
        words: how the format writes.
    """
    headers = (
        "model",
        "defense",
        "group",
        "attack",
        "robust",
        "more",
        "less",
        "distance",
        "forward",
        "backward",
        "ms/image",
    )
    rows = tuple(
        (*(words.escape(text) for text in (line.model, line.defense, line.group, line.attack)), *_texts(line, words))
        for line in lines
    )
    return Grid(headers, (*("left",) * 4, *("right",) * 7), rows)


def _texts(line: Agreed, words: Words) -> tuple[str, ...]:
    if line.robust is None or line.robust.value is None:
        return (line.status, *(words.dash,) * 6)
    differs = " ≠" if line.p_holm is not None and line.p_holm < 0.05 else ""
    distance = words.dash
    if line.median_distance is not None:
        distance = f"{line.median_distance:.4g}" if np.isfinite(line.median_distance) else "none found"
    counts = (words.dash, words.dash) if line.more is None else (str(line.more), str(line.less))
    passes = tuple(words.dash if one is None else f"{one:,.1f}" for one in (line.forwards, line.backwards))
    time = words.dash if line.seconds is None else f"{1000 * line.seconds:,.1f}"
    bound = "" if line.valid else "≤ "
    return (bound + percent(line.robust.value) + differs, *counts, distance, *passes, time)
