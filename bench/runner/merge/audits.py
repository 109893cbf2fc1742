"""What the audits of the runs found comes along, as an audit that is out of date: nobody has audited the joined run.

A finding that makes a number invalid must not get lost on the way. Rules that compare rows haven't seen the others' rows, so
the joined audit never counts as one of what is there now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.errors import StoreError
from bench.runner.merge.sources import Source
from bench.store.audit import AuditRecord, Finding, RuleResult
from bench.store.directories import copy_file
from bench.store.outcomes import address
from bench.store.probes import RowProbes
from bench.store.records import RunRecord
from bench.store.run_directory import RunDirectory, hash_of

CHANGED = ""
"""Digest of a record that no audit of the joined run has seen."""


def joined_audit(
    stage: RunDirectory, sources: Sequence[Source], record: RunRecord, note: Callable[[str], None]
) -> None:
    """Writes ``audit.json`` from those of the runs, where there is any."""
    audits = [audit for source in sources if (audit := _audit(source, note)) is not None]
    if not audits:
        return
    listed = {hash_of(cell) for cell in (*record.cells, *record.corruption_cells)}
    findings = [one for audit in audits for one in audit.findings if _speaks_of(one, listed)]
    stage.write_audit(
        AuditRecord(
            made=min(audit.made for audit in audits),
            samples=min(audit.samples for audit in audits),
            cells=dict.fromkeys(record.cells, CHANGED),
            rules=tuple(_rules(audits)),
            findings=tuple(one for place, one in enumerate(findings) if one not in findings[:place]),
        )
    )
    note("the audits' findings come along; nobody has audited the joined run: bench audit does")


def _audit(source: Source, note: Callable[[str], None]) -> AuditRecord | None:
    try:
        return source.directory.read_audit()
    except StoreError as error:
        note(f"{str(error).splitlines()[0]}; its findings don't come along")
        return None


def _speaks_of(finding: Finding, listed: set[str]) -> bool:
    """Whether a finding speaks of a cell or a row that is there, of a table or of the run."""
    cells = (*finding.cells, *finding.row)
    return not cells or any(hash_of(cell) in listed for cell in cells)


def _rules(audits: Sequence[AuditRecord]) -> Iterable[RuleResult]:
    each = [rule for audit in audits for rule in audit.rules]
    for name in dict.fromkeys(rule.rule for rule in each):
        same = [rule for rule in each if rule.rule == name]
        unchecked: dict[str, tuple[str, ...]] = {}
        for rule in same:
            for reason, labels in rule.unchecked.items():
                unchecked[reason] = tuple(dict.fromkeys((*unchecked.get(reason, ()), *labels)))
        yield RuleResult(
            rule=name,
            title=same[0].title,
            checked=sum(rule.checked for rule in same),
            unchecked=unchecked,
            findings=sum(rule.findings for rule in same),
        )


def joined_probes(
    stage: RunDirectory, sources: Sequence[Source], record: RunRecord, note: Callable[[str], None]
) -> None:
    """Copies the probes of rows that are there; the next audit uses those whose settings are still its own."""
    suite = record.suite
    balls = {address(one) for one in suite.threat_models}
    models = {one.id for one in suite.models}
    for source in sources:
        for path in sorted((source.directory.path / "probes").glob("*.json")):
            target = stage.path / "probes" / path.name
            try:
                seen = _probes(path)
            except (OSError, ValueError):
                note(f"{path}: damaged; it doesn't come along, and the next audit probes its row again")
                continue
            if seen.threat_model in balls and seen.model in models and not target.exists():
                copy_file(path, target)


def _probes(path: Path) -> RowProbes:
    """Raises ValueError where the file is damaged."""
    return RowProbes.model_validate_json(path.read_text(encoding="utf-8"))
