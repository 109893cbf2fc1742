"""A gate's result for people: plain text, and Markdown for the summary page of a CI job."""

from __future__ import annotations

from tabulate import tabulate

from bench.leaderboard.cells import CLEAN, CORRUPTED, WORST
from bench.leaderboard.checks import Check, GateError, GateResult
from bench.leaderboard.grid import percent
from bench.leaderboard.markdown import escape

_HEADERS = ("", "threat model", "row", "number", "before", "now", "points", "lost", "gained", "p (Holm)")
_ALIGN = ("left",) * 4 + ("right",) * 6


def text(result: GateResult) -> str:
    """What failed first, then every number that changed."""
    parts = [_verdict(result), *(f"FAILED {_where(check)}: {check.check}: {check.message}" for check in result.failed)]
    rows = [_row(check) for check in _shown(result)]
    if rows:
        drawn = tabulate(rows, headers=_HEADERS, tablefmt="plain", disable_numparse=True, colalign=_ALIGN)
        parts += ["", *(line.rstrip() for line in drawn.splitlines()), ""]
    parts += [f"note: {note}" for note in result.notes]
    return "\n".join([*parts, _asked(result)]) + "\n"


def markdown(result: GateResult) -> str:
    """The same as Markdown; names are escaped."""
    parts = [f"## {'✅' if result.passed else '❌'} {escape(_verdict(result))}"]
    if result.failed:
        lines = [f"- **{escape(_where(one))}**: {one.check}: {escape(one.message)}" for one in result.failed]
        parts.append("\n".join(lines))
    rows = [tuple(map(escape, _row(check))) for check in _shown(result)]
    if rows:
        parts.append(tabulate(rows, headers=_HEADERS, tablefmt="pipe", disable_numparse=True, colalign=_ALIGN))
    if result.notes:
        parts.append("\n".join(f"- note: {escape(note)}" for note in result.notes))
    return "\n\n".join([*parts, escape(_asked(result))]) + "\n"


def markdown_error(error: GateError) -> str:
    """Why the gate couldn't look, as Markdown."""
    return f"## ❌ gate could not look at {escape(error.run)}\n\n{escape(' '.join(error.error.split()))}\n"


def _verdict(result: GateResult) -> str:
    images = f"{result.samples:,} images, baseline of {result.baseline}"
    if result.passed:
        return f"gate passed: {result.suite}: {len(result.checks)} checks ({images})"
    return f"gate failed: {result.suite}: {len(result.failed)} of {len(result.checks)} checks ({images})"


def _asked(result: GateResult) -> str:
    if result.non_inferiority is not None:
        asked = f"every accuracy shown to have dropped by less than {result.non_inferiority:g} points, each at {result.alpha:g}"
    else:
        tests = f"{result.tests} test{'s' * (result.tests != 1)}"
        asked = (
            f"no accuracy dropped by more than {result.margin:g} points, as one-sided exact McNemar tests with Holm over "
            f"{tests} show at {result.alpha:g}"
        )
    cost = "" if result.cost == "none" else f"; cost ({result.cost}) up to {result.cost_factor:g} times"
    return f"asked: {asked}{cost}"


def _where(check: Check) -> str:
    return " | ".join(part for part in (check.row, check.threat_model, check.number) if part)


def _shown(result: GateResult) -> list[Check]:
    """Clean accuracy, worst case and mean under corruptions of every row, and every other number that changed."""
    return [
        check
        for check in result.checks
        if check.check == "accuracy"
        and (check.number in (CLEAN, WORST, CORRUPTED) or check.lost or check.gained or not check.passed)
    ]


def _row(check: Check) -> tuple[str, ...]:
    at_most = "≤ " if check.bound else ""
    change = None if check.now is None or check.baseline is None else 100 * (check.now - check.baseline)
    return (
        "" if check.passed else "FAILED",
        check.threat_model,
        check.row,
        check.number,
        "–" if check.baseline is None else percent(check.baseline),
        "–" if check.now is None else at_most + percent(check.now),
        "–" if change is None else f"{at_most}{round(change, 1) + 0.0:+.1f}",
        "–" if check.lost is None else str(check.lost),
        "–" if check.gained is None else str(check.gained),
        "–"
        if check.adjusted is None
        else (f"{check.adjusted:.3f}" if check.adjusted >= 0.001 else f"{check.adjusted:.0e}"),
    )
