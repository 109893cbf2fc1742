"""What an audit found: ``audit.json`` beside the cells of a run.

The audit looks at every number for the known signs of a bad evaluation (:mod:`bench.audit`); here stand its records, which
tables, plots and reports read.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bench.store.records import SCHEMA_VERSION

Severity = Literal["info", "warning", "invalid"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Finding(_Record):
    """A rule that fired: what a reader of the number must know."""

    rule: str
    """id of the rule"""
    severity: Severity
    message: str
    """what was seen, with its numbers, in one line"""
    source: str = ""
    advice: str = ""
    """what to do"""
    threat_model: str = ""
    """``norm:eps`` of the row, eps as an exact fraction; empty where the finding speaks of the whole run"""
    model: str = ""
    """id of the row's model; empty where the finding speaks of a whole table or of the run"""
    defense: str = ""
    """the row's defense, ``none`` for the bare model; empty with ``model``"""
    cells: tuple[str, ...] = ()
    """ids of the cells that it speaks of; empty where it speaks of the row as a whole"""
    row: tuple[str, ...] = ()
    """ids of the row's cells: it is the same row where a model or a defense has another name now"""
    evidence: dict[str, Any] = {}  # Any: JSON values
    """the numbers behind it"""


class RuleResult(_Record):
    """What became of one rule."""

    rule: str
    title: str
    checked: int
    """rows, tables or cells that the rule looked at"""
    unchecked: dict[str, tuple[str, ...]] = {}
    """by reason, what it could not look at"""
    findings: int
    """of severity ``warning`` or ``invalid``"""


class AuditRecord(_Record):
    """``audit.json``."""

    schema_version: int = SCHEMA_VERSION
    made: str
    """when, ISO 8601"""
    samples: int
    """of the subset that the probes attacked; 0 where there were none"""
    cells: dict[str, str]
    """by id, the digest of the record of each cell that was looked at: another digest now, and the audit is out of date"""
    rules: tuple[RuleResult, ...]
    findings: tuple[Finding, ...]

    def worst(self) -> Severity | None:
        """The severest finding; ``None`` where there is none."""
        found = {finding.severity for finding in self.findings}
        order: tuple[Severity, ...] = ("invalid", "warning", "info")
        return next((one for one in order if one in found), None)
