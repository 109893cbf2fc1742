"""Applies every rule to everything that it speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bench.audit.evidence import CannotCheck, Evidence, NotMeant, RowEvidence, TableEvidence
from bench.audit.rule import Found, Rule
from bench.audit.rules import RULES
from bench.store.audit import AuditRecord, Finding, RuleResult
from bench.store.outcomes import address, cell_digest


class _Unit(NamedTuple):
    """What a rule looks at, and how findings name it."""

    what: Evidence | TableEvidence | RowEvidence
    label: str
    threat_model: str = ""
    model: str = ""
    defense: str = ""


def examine(evidence: Evidence, *, made: str, samples: int, rules: Iterable[Rule] = RULES) -> AuditRecord:
    """The audit of a run.

    Args:
        evidence: what the rules look at.
        made: when, ISO 8601.
        samples: of the probes' subset; 0 where there were none.
        rules: all of them, unless a test wants fewer.
    """
    results, findings = [], list[Finding]()
    for rule in rules:
        checked, unchecked, fired = 0, dict[str, list[str]](), 0
        for unit in _units(rule, evidence):
            found = list[Finding]()
            try:
                for one in rule.check(unit.what):
                    found.append(_finding(rule, unit, one))  # what it saw before it couldn't go on counts
                checked += 1
            except NotMeant:
                continue
            except CannotCheck as error:
                unchecked.setdefault(str(error), []).append(unit.label)
            except Exception as error:  # noqa: BLE001 (the rule's edge: what failed wasn't checked, and says so)
                unchecked.setdefault(f"the rule failed: {type(error).__name__}: {error}", []).append(unit.label)
            findings += found
            fired += sum(one.severity != "info" for one in found)
        reasons = {reason: tuple(labels) for reason, labels in unchecked.items()}
        results.append(RuleResult(rule=rule.id, title=rule.title, checked=checked, unchecked=reasons, findings=fired))
    return AuditRecord(
        made=made,
        samples=samples,
        cells={cell: cell_digest(evidence.run, cell) for cell in evidence.outcome.record.cells},
        rules=tuple(results),
        findings=tuple(findings),
    )


def _units(rule: Rule, evidence: Evidence) -> Iterator[_Unit]:
    if rule.scope == "run":
        yield _Unit(evidence, "the run")
    elif rule.scope == "table":
        for table in evidence.tables:
            yield _Unit(table, table.threat_model.label, address(table.threat_model))
    else:
        for row in evidence.rows:
            yield _Unit(row, row.label, address(row.row.threat_model), row.row.model, row.row.defense)


def _finding(rule: Rule, unit: _Unit, found: Found) -> Finding:
    severity = found.severity
    if rule.strength and isinstance(unit.what, RowEvidence) and unit.what.exhausted:
        severity = "info"  # the number can't get lower
    return Finding(
        rule=rule.id,
        severity=severity,
        message=found.message,
        source=found.source or rule.source,
        advice=rule.advice,
        threat_model=unit.threat_model,
        model=unit.model,
        defense=unit.defense,
        cells=found.cells,
        row=tuple(cell.id for cell in unit.what.row.cells) if isinstance(unit.what, RowEvidence) else (),
        evidence=found.evidence,
    )
