"""Whether a run is worse than a baseline, image by image: for nightly jobs.

The family-wise error rate of all accuracy tests of a gate is at most alpha: the chance that it fails although nothing got
worse. Two things keep its power. Numbers in which so few verdicts changed that even all in one direction would show nothing
don't count (Tarone 1990, Biometrics 46:515-522: the number of changed verdicts says nothing of their direction). And the
numbers that matter most, clean accuracy and worst case of every row, share 9/10 of the level, the single attacks the rest
(weighted Holm; what is rejected leaves its share to the others).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.errors import StoreError
from bench.leaderboard.baseline import Baseline, BaselineCell, BaselineRow, key_of
from bench.leaderboard.cells import CLEAN, WORST, changes
from bench.leaderboard.checks import Check, CheckKind, GateResult
from bench.leaderboard.verdicts import Verdicts
from bench.stats import paired_greater, paired_interval, weighted_holm
from bench.store.outcomes import FloatArray

CostKind = Literal["passes", "seconds", "both", "none"]
FlagKind = Literal["warning", "invalid", "none"]
PRIMARY = 0.9
"""Share of the level for clean accuracies and worst cases."""
_SLACK = {"passes": 1.0, "seconds": 1.0}
"""What a cell's cost may rise by in any case: passes an image, seconds a cell."""
_ROUNDING = 1e-6
"""Points: a drop that is exactly the margin is within it."""


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


def gate(
    baseline: Baseline,
    now: Baseline,
    settings: GateSettings = GateSettings(),
    *,
    run: str = "",
    notes: Sequence[str] = (),
) -> GateResult:
    """Checks a run against a baseline.

    Args:
        baseline: what was found before.
        now: the run, as :func:`bench.leaderboard.baseline.snapshot` makes it with ``like=baseline``.
        settings: what is let through.
        run: how the run is called in the result.
        notes: what else the result is to say.

    Raises:
        StoreError: where the two can't be compared: another suite, dataset or other samples.
    """
    _comparable(baseline, now)
    tests = [test for row in baseline.rows for test in _tests(row, now.row(key_of(row)), baseline.samples.count)]
    tests = _once(tests)
    adjusted = {} if settings.non_inferiority is not None else _adjusted(tests, settings.alpha)
    checks = [*_audit(baseline, now, settings)]
    for row in baseline.rows:
        checks += _row(baseline, row, now, now.row(key_of(row)), settings)
        checks += [_accuracy(test, adjusted.get(id(test)), settings) for test in tests if test.row is row]
    return GateResult(
        suite=baseline.suite,
        samples=baseline.samples.count,
        run=run,
        baseline=baseline.made,
        margin=settings.margin,
        alpha=settings.alpha,
        cost=settings.cost,
        cost_factor=settings.cost_factor,
        non_inferiority=settings.non_inferiority,
        tests=len(adjusted),
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        notes=(*_new(baseline, now), *notes),
    )


def _comparable(baseline: Baseline, now: Baseline) -> None:
    sides = [
        ("suite", baseline.suite, now.suite),
        ("dataset", baseline.dataset.name, now.dataset.name),
        ("dataset digest", baseline.dataset.digest, now.dataset.digest),
        ("number of samples", baseline.samples.count, now.samples.count),
        ("samples (digest of their digests)", baseline.samples.digest, now.samples.digest),
    ]
    for what, before, after in sides:
        if before != after:
            raise StoreError(
                f"the run can't be paired with the baseline: another {what}: {before} in the baseline, {after} in the run"
                " (accepted: the same images; --update writes a new baseline)"
            )


# -- accuracies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """One number of a row before and now; ``after`` is ``None`` where the run has none."""

    row: BaselineRow
    number: str
    primary: bool
    before: FloatArray
    after: FloatArray | None
    bound: bool = False

    @property
    def changed(self) -> int:
        """How many verdicts differ."""
        return 0 if self.after is None else int((self.before != self.after).sum())


def _tests(row: BaselineRow, now: BaselineRow | None, n: int) -> Iterator[_Test]:
    """The numbers of a row that the baseline has; prerequisites are the suite's attacks again."""
    yield from _test(row, CLEAN, True, row.clean, None if now is None else now.clean, n)
    yield from _test(
        row, WORST, True, row.worst, None if now is None else now.worst, n, now is not None and not now.complete
    )
    cells = {name: cell for name, cell in row.cells.items() if cell.role != "prerequisite"}
    for name, cell in cells.items() if len(row.cells) > 1 else ():
        after = None if now is None else now.cells.get(name)
        if after is None or cell.definition == after.definition or not after.definition:
            invalid = after is not None and "invalid" in after.flags.values()
            yield from _test(row, name, False, cell.robust, None if after is None else after.robust, n, invalid)


def _test(
    row: BaselineRow, number: str, primary: bool, a: Verdicts | None, b: Verdicts | None, n: int, bound: bool = False
) -> Iterator[_Test]:
    if a is not None:
        yield _Test(row, number, primary, a.outcomes(n), None if b is None else b.outcomes(n), bound)


def _once(tests: Sequence[_Test]) -> list[_Test]:
    """Without the clean accuracies that another radius has already: they are the same numbers."""
    seen: dict[tuple[str, str], list[_Test]] = {}
    kept = []
    for test in tests:
        key = test.row.model, test.row.defense
        if test.number == CLEAN:
            if any(_same(test, other) for other in seen.get(key, [])):
                continue
            seen.setdefault(key, []).append(test)
        kept.append(test)
    return kept


def _same(a: _Test, b: _Test) -> bool:
    if a.after is None or b.after is None:
        return False
    return bool((a.before == b.before).all() and (a.after == b.after).all())


def _adjusted(tests: Sequence[_Test], alpha: float) -> dict[int, tuple[float, float]]:
    """By identity of each test that counts, its p-value and the corrected one."""
    counted = [test for test in tests if test.after is not None and 0.5**test.changed <= alpha]
    if not counted:
        return {}
    primary = sum(test.primary for test in counted)
    weights = [PRIMARY / primary if test.primary else (1 - PRIMARY) / (len(counted) - primary) for test in counted]
    raw = [paired_greater(test.before, test.after) for test in counted if test.after is not None]
    corrected = weighted_holm(raw, weights)
    return {id(test): both for test, *both in zip(counted, raw, corrected, strict=True)}  # type: ignore[misc]


def _accuracy(test: _Test, found: tuple[float, float] | None, settings: GateSettings) -> Check:
    row = test.row
    before = float(test.before.mean())
    if test.after is None:
        return _check(row, test.number, "accuracy", False, f"{_percent(before)} in the baseline, no number now", before)
    after = float(test.after.mean())
    lost, gained = int((test.after < test.before).sum()), int((test.after > test.before).sum())
    p, corrected = found or (None, None)
    bound = "≤ " if test.bound else ""
    message = f"{_percent(before)} before, {bound}{_percent(after)} now; {lost} lost, {gained} gained"
    low = None
    if settings.non_inferiority is not None:
        low = paired_interval(test.after, test.before, 1 - 2 * settings.alpha).low
        passed = 100 * low > -settings.non_inferiority and not test.bound
        said = "nothing is shown of a number that is only known to be at most that" if test.bound else ""
        said = said or f"the change is above {100 * low:+.1f} points ({_level(settings)})"
        message += f"; {said}, asked for above {-settings.non_inferiority:+.1f}"
    else:
        real = corrected is not None and corrected <= settings.alpha
        passed = not (real and 100 * (before - after) > settings.margin + _ROUNDING)
        message += "; too few changed to test" if corrected is None else f"; p = {_small(corrected)} after Holm"
        message += "; within the margin" if real and passed else ""
    return Check(
        threat_model=row.threat_model,
        row=row.label,
        number=test.number,
        check="accuracy",
        passed=passed,
        message=message,
        baseline=before,
        now=after,
        bound=test.bound,
        lost=lost,
        gained=gained,
        p=p,
        adjusted=corrected,
        low=low,
    )


# -- everything else ---------------------------------------------------------------------------------------------------


def _row(
    baseline: Baseline, row: BaselineRow, now: Baseline, after: BaselineRow | None, settings: GateSettings
) -> Iterator[Check]:
    if after is None:
        yield _check(row, WORST, "status", False, "the row is in the baseline, and the run doesn't have it")
        return
    if row.complete and not after.complete:
        yield _check(
            row, WORST, "status", False, "the row is not complete any more: a cell is missing, failed or invalid"
        )
    if row.definition != after.definition and after.definition:
        differing = changes(baseline.definitions.get(row.definition, {}), now.definitions[after.definition])
        message = f"another defense before and now: {differing}; --update writes a new baseline"
        yield _check(row, WORST, "definition", False, message)
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
    status = "missing" if after is None else after.status
    ok = status == "done" or status == cell.status
    yield _check(row, name, "status", ok, status if ok else f"{cell.status} before, {status} now")
    if after is None:
        return
    if after.definition and cell.definition and after.definition != cell.definition:
        differing = changes(baseline.definitions.get(cell.definition, {}), now.definitions[after.definition])
        yield _check(row, name, "definition", False, f"another attack before and now: {differing}; "
                     "--update writes a new baseline")  # fmt: skip
        return
    yield from _flags(row, name, cell.flags, after.flags, settings)
    if cell.status == after.status == "done":
        yield from _costs(row, name, cell, after, baseline.samples.count, settings)


def _flags(
    row: BaselineRow, number: str, before: dict[str, str], after: dict[str, str], settings: GateSettings
) -> Iterator[Check]:
    if settings.flags == "none":
        return
    new = [
        f"{rule} ({severity}{', a warning before' if rule in before else ''})"
        for rule, severity in after.items()
        if before.get(rule) not in (severity, "invalid") and (severity == "invalid" or settings.flags == "warning")
    ]
    message = f"new: {', '.join(new)}" if new else "nothing new"
    yield _check(row, number, "flags", not new, message)


def _costs(
    row: BaselineRow, number: str, before: BaselineCell, after: BaselineCell, n: int, settings: GateSettings
) -> Iterator[Check]:
    kinds = {"passes": ("passes",), "seconds": ("seconds",), "both": ("passes", "seconds"), "none": ()}[settings.cost]
    for kind in kinds:
        a, b = float(getattr(before, kind)), float(getattr(after, kind))
        slack = _SLACK[kind] * (n if kind == "passes" else 1)
        passed = b <= max(settings.cost_factor * a, a + slack)
        message = f"{a:,.6g} {kind} before, {b:,.6g} now" + (f" ({b / a:.2f} times)" if a else "")
        yield _check(row, number, "cost", passed, message, a, b)


def _audit(baseline: Baseline, now: Baseline, settings: GateSettings) -> Iterator[Check]:
    if baseline.audited and settings.flags != "none":
        said = (
            "audited"
            if now.audited
            else "the baseline's run was audited, this one wasn't, or has changed since: bench audit"
        )
        yield Check(threat_model="", row="", number="run", check="audit", passed=now.audited, message=said)


def _new(baseline: Baseline, now: Baseline) -> Iterator[str]:
    if now.audited and not baseline.audited:
        yield "the baseline's run wasn't audited: findings of this run's audit count as new"
    for row in now.rows:
        known = baseline.row(key_of(row))
        if known is None:
            yield f"{row.label} under {row.threat_model}: not in the baseline"
            continue
        more = [name for name in row.cells if name not in known.cells]
        if more:
            yield f"{row.label} under {row.threat_model}: not in the baseline, and not counted: {', '.join(more)}"


def _check(
    row: BaselineRow,
    number: str,
    check: CheckKind,
    passed: bool,
    message: str,
    before: float | None = None,
    now: float | None = None,
) -> Check:
    return Check(
        threat_model=row.threat_model, row=row.label, number=number, check=check, passed=passed, message=message,
        baseline=before, now=now,
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _level(settings: GateSettings) -> str:
    return f"{100 * (1 - settings.alpha):g} % bound"


def _small(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
