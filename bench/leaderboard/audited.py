"""What a table says of its audit: which rules looked at the numbers, which couldn't, and what they found."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.grid import Grid, Words
from bench.leaderboard.records import Audited, Leaderboard, Table
from bench.store.audit import RuleResult

_MOST = 3
"""Up to so many reasons are named in the line under a table; the list of rules has all."""
_NOTHING = "none of them fired, which says nothing of attacks that weren't tried"
_ALIGN = ("left", "left", "right", "right", "left")


def audit_line(board: Leaderboard, table: Table) -> str:
    """One line for below a table."""
    if board.audit is None:
        return "not audited: run `bench audit RUN`"
    parts = [f"audit: {_rules(board, table, board.audit.rules)}", _found(table)]
    if board.audit.outdated:
        parts.append(f"out of date, {_cells(board.audit.outdated)} changed since: run `bench audit RUN` again")
    return "; ".join(parts)


def audit_grid(audit: Audited, words: Words) -> Grid:
    """Every rule with what it looked at, what it couldn't look at and why."""
    lines = [
        (
            words.escape(rule.rule),
            words.escape(rule.title),
            str(rule.checked),
            str(rule.findings),
            words.escape(_unchecked(rule)) or words.dash,
        )
        for rule in audit.rules
    ]
    return Grid(("rule", "what it looks for", "checked", "fired", "not checked"), _ALIGN, tuple(lines))


def audit_heading(audit: Audited) -> str:
    """What stands above the rules."""
    probes = f"its probes attacked {audit.samples:,} images" if audit.samples else "without probes"
    return (
        f"Made {audit.made}, {probes}. Checked: rows, tables or runs that a rule looked at. A rule that doesn't fire has "
        "found no fault, which proves nothing."
    )


def _rules(board: Leaderboard, table: Table, rules: Sequence[RuleResult]) -> str:
    """How many there are, and what became of them in this table."""
    missed = [_missed(board, table, rule) for rule in rules]
    nothing = [rule for rule in rules if not rule.checked and not rule.unchecked]
    without = [here for rule, here in zip(rules, missed, strict=True) if here and _whole(table, rule, here)]
    checked = len(rules) - len(nothing) - len(without)
    part = sum(bool(here) for here in missed) - len(without)
    texts = [f"{len(rules)} rule{'s' * (len(rules) != 1)}, {checked} checked on this table"]
    texts[0] += f" ({part} of them not on every row)" if part else ""
    texts += [f"{len(without)} could not be ({_reasons(without)})"] if without else []
    texts += [f"{len(nothing)} had nothing to look at"] if nothing else []
    return ", ".join(texts)


def _missed(board: Leaderboard, table: Table, rule: RuleResult) -> dict[str, set[str]]:
    """What a rule couldn't look at here, by reason: without what belongs to the other tables."""
    others = {one.threat_model for one in board.tables} - {table.threat_model}
    found = {
        " ".join(reason.split()): {one for one in of if one.rpartition(" | ")[2] not in others}
        for reason, of in rule.unchecked.items()
    }
    return {reason: of for reason, of in found.items() if of}


def _whole(table: Table, rule: RuleResult, missed: dict[str, set[str]]) -> bool:
    """Whether it looked at nothing of this table."""
    names = set().union(*missed.values())
    rows = {row.model if row.defense == "none" else f"{row.model} + {row.defense}" for row in table.rows}
    return not rule.checked or table.threat_model in names or {f"{row} | {table.threat_model}" for row in rows} <= names


def _reasons(missed: Sequence[dict[str, set[str]]]) -> str:
    reasons = list(dict.fromkeys(reason for one in missed for reason in one))
    more = len(reasons) - _MOST
    return "; ".join([*reasons[:_MOST], *([f"{more} more reason{'s' * (more > 1)}"] if more > 0 else [])])


def _found(table: Table) -> str:
    invalid, warnings = (table.found.get(severity, 0) for severity in ("invalid", "warning"))
    if not invalid and not warnings:
        return _NOTHING
    texts = [f"{invalid} invalid"] if invalid else []
    texts += [f"{warnings} warning{'s' * (warnings > 1)}"] if warnings else []
    return ", ".join(texts)


def _unchecked(rule: RuleResult) -> str:
    return "; ".join(f"{' '.join(reason.split())}: {_several(of)}" for reason, of in rule.unchecked.items())


def _several(of: Sequence[str]) -> str:
    return ", ".join(of) if 0 < len(of) <= _MOST else f"{len(of)} of them"


def _cells(count: int) -> str:
    return f"{count} cell has" if count == 1 else f"{count} cells have"
