"""What a gate looks at beside the accuracies: states, definitions, flags and costs of rows and cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bench.leaderboard.baseline import Baseline, BaselineCell, BaselineRow
from bench.leaderboard.cells import CORRUPTED, WORST, changes
from bench.leaderboard.checks import Check, CheckKind
from bench.leaderboard.corruption_baseline import BaselineCorrupted, BaselineCorruption

CostKind = Literal["passes", "seconds", "both", "none"]
FlagKind = Literal["warning", "invalid", "none"]
_SLACK = {"passes": 1.0, "seconds": 1.0}
"""What a cell's cost may rise by in any case: passes an image, seconds a cell."""


AnyRow = BaselineRow | BaselineCorrupted
GONE = "the row is in the baseline, and the run doesn't have it"


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What a gate lets through.

    Attributes:
        margin: points that an accuracy may drop in any case.
        alpha: family-wise error rate of the accuracy tests; level of each lower bound with ``non_inferiority``.
        cost: which cost is looked at.
        cost_factor: what a cell's cost may rise to, in multiples of the baseline's.
        non_inferiority: points; passes only where it is shown that every accuracy dropped by less.
        flags: from which severity on a new flag or finding fails; ``none`` looks at none.
    """

    margin: float = 0.0
    alpha: float = 0.05
    cost: CostKind = "passes"
    cost_factor: float = 1.5
    non_inferiority: float | None = None
    flags: FlagKind = "warning"


USUAL = GateSettings()


def row_checks(
    baseline: Baseline, row: BaselineRow, now: Baseline, after: BaselineRow | None, settings: GateSettings
) -> Iterator[Check]:
    """Of a row that was attacked."""
    if after is None:
        yield check(row, WORST, "status", False, GONE)
        return
    if row.complete and not after.complete:
        yield check(
            row, WORST, "status", False, "the row is not complete any more: a cell is missing, failed or invalid"
        )
    yield from _defense(baseline, row, WORST, now, after)
    yield from _flags(row, WORST, row.flags, after.flags, settings)
    for name, cell in row.cells.items():
        yield from _cell(baseline, row, name, cell, now, after.cells.get(name), settings)


def _cell(
    baseline: Baseline,
    row: BaselineRow,
    name: str,
    cell: BaselineCell,
    now: Baseline,
    after: BaselineCell | None,
    settings: GateSettings,
) -> Iterator[Check]:
    yield _status(row, name, cell.status, "missing" if after is None else after.status)
    if after is None:
        return
    if after.definition and cell.definition and after.definition != cell.definition:
        differing = changes(baseline.definitions.get(cell.definition, {}), now.definitions[after.definition])
        yield check(row, name, "definition", False, f"another attack before and now: {differing}; "
                     "--update writes a new baseline")  # fmt: skip
        return
    yield from _flags(row, name, cell.flags, after.flags, settings)
    if cell.status == after.status == "done":
        yield from _costs(row, name, cell, after, baseline.samples.count, settings)


def corrupted_checks(
    baseline: Baseline, row: BaselineCorrupted, now: Baseline, after: BaselineCorrupted | None, settings: GateSettings
) -> Iterator[Check]:
    """Of a row under common corruptions."""
    if after is None:
        yield check(row, CORRUPTED, "status", False, GONE)
        return
    yield from _defense(baseline, row, CORRUPTED, now, after)
    for name, cell in row.cells.items():
        yield from _corruption(baseline, row, name, cell, now, after.cells.get(name), settings)


def _corruption(
    baseline: Baseline,
    row: BaselineCorrupted,
    name: str,
    cell: BaselineCorruption,
    now: Baseline,
    after: BaselineCorruption | None,
    settings: GateSettings,
) -> Iterator[Check]:
    yield _status(row, name, cell.status, "missing" if after is None else after.status)
    if after is None:
        return
    if after.definition and cell.definition and not cell.same_images(after):
        differing = changes(baseline.definitions.get(cell.definition, {}), now.definitions[after.definition])
        message = f"other corrupted images before and now: {differing}; --update writes a new baseline"
        yield check(row, name, "definition", False, message)
        return
    yield from _flags(row, name, cell.flags, after.flags, settings)


def _defense(baseline: Baseline, row: AnyRow, number: str, now: Baseline, after: AnyRow) -> Iterator[Check]:
    if row.definition != after.definition and after.definition:
        differing = changes(baseline.definitions.get(row.definition, {}), now.definitions[after.definition])
        message = f"another defense before and now: {differing}; --update writes a new baseline"
        yield check(row, number, "definition", False, message)


def _status(row: AnyRow, name: str, before: str, now: str) -> Check:
    ok = now in ("done", before)
    return check(row, name, "status", ok, now if ok else f"{before} before, {now} now")


def _flags(
    row: AnyRow, number: str, before: dict[str, str], after: dict[str, str], settings: GateSettings
) -> Iterator[Check]:
    if settings.flags == "none":
        return
    new = [
        f"{rule} ({severity}{', a warning before' if rule in before else ''})"
        for rule, severity in after.items()
        if before.get(rule) not in (severity, "invalid") and (severity == "invalid" or settings.flags == "warning")
    ]
    message = f"new: {', '.join(new)}" if new else "nothing new"
    yield check(row, number, "flags", not new, message)


def _costs(
    row: BaselineRow, number: str, before: BaselineCell, after: BaselineCell, n: int, settings: GateSettings
) -> Iterator[Check]:
    kinds = {"passes": ("passes",), "seconds": ("seconds",), "both": ("passes", "seconds"), "none": ()}[settings.cost]
    for kind in kinds:
        a, b = float(getattr(before, kind)), float(getattr(after, kind))
        slack = _SLACK[kind] * (n if kind == "passes" else 1)
        passed = b <= max(settings.cost_factor * a, a + slack)
        message = f"{a:,.6g} {kind} before, {b:,.6g} now" + (f" ({b / a:.2f} times)" if a else "")
        yield check(row, number, "cost", passed, message, a, b)


def check(
    row: AnyRow,
    number: str,
    kind: CheckKind,
    passed: bool,
    message: str,
    before: float | None = None,
    now: float | None = None,
) -> Check:
    """One check of a row."""
    return Check(
        threat_model=row.threat_model, row=row.label, number=number, check=kind, passed=passed, message=message,
        baseline=before, now=now,
    )  # fmt: skip
