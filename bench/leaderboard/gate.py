"""Whether a run is worse than a baseline, image by image: for nightly jobs."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from bench.errors import StoreError
from bench.leaderboard.baseline import Baseline, key_of
from bench.leaderboard.checks import Check, GateResult
from bench.leaderboard.gate_checks import USUAL, GateSettings, check, corrupted_checks, row_checks
from bench.leaderboard.gated import Test, adjusted, corrupted_tests, once, tests_of
from bench.stats import paired_interval

_ROUNDING = 1e-6
"""Points: a drop that is exactly the margin is within it."""


def gate(
    baseline: Baseline,
    now: Baseline,
    settings: GateSettings = USUAL,
    *,
    run: str = "",
) -> GateResult:
    """Checks a run against a baseline.

    Args:
        baseline: what was found before.
        now: the run, as :func:`bench.leaderboard.baseline.snapshot` makes it with ``like=baseline``.
        settings: what is let through.
        run: how the run is called in the result.

    Raises:
        StoreError: where the two can't be compared: another suite, dataset or other samples.
    """
    _comparable(baseline, now)
    n = baseline.samples.count
    tests = [test for row in baseline.rows for test in tests_of(row, now.row(key_of(row)), n)]
    tests += [test for row in baseline.corrupted for test in corrupted_tests(row, now.corrupted_row(key_of(row)), n)]
    tests = once(tests)
    corrected = {} if settings.non_inferiority is not None else adjusted(tests, settings.alpha)
    checks = [*_audit(baseline, now, settings)]
    for row in baseline.rows:
        checks += row_checks(baseline, row, now, now.row(key_of(row)), settings)
        checks += [_accuracy(test, corrected.get(id(test)), settings) for test in tests if test.row is row]
    for under in baseline.corrupted:
        checks += corrupted_checks(baseline, under, now, now.corrupted_row(key_of(under)), settings)
        checks += [_accuracy(test, corrected.get(id(test)), settings) for test in tests if test.row is under]
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
        tests=len(corrected),
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        notes=tuple(_new(baseline, now)),
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


def _accuracy(test: Test, found: tuple[float, float] | None, settings: GateSettings) -> Check:
    row = test.row
    before = float(test.before.mean())
    if test.after is None:
        return check(row, test.number, "accuracy", False, f"{_percent(before)} in the baseline, no number now", before)
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
        yield from _more(row.label, row.threat_model, row.cells, known.cells)
    for under in now.corrupted:
        before = baseline.corrupted_row(key_of(under))
        if before is None:
            yield f"{under.label} under {under.threat_model}: not in the baseline"
        else:
            yield from _more(under.label, under.threat_model, under.cells, before.cells)


def _more(label: str, ball: str, cells: Iterable[str], known: Container[str]) -> Iterator[str]:
    more = [name for name in cells if name not in known]
    if more:
        yield f"{label} under {ball}: not in the baseline, and not counted: {', '.join(more)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _level(settings: GateSettings) -> str:
    return f"{100 * (1 - settings.alpha):g} % bound"


def _small(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"
