"""Audits of runs made by hand: what the probes saw and what the verifier says is chosen by the test, too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import synthetic_run
from synthetic_run import Planned, build_run

from bench import registry
from bench.audit.evidence import Evidence, Verified, gather
from bench.audit.examine import examine
from bench.audit.rule import Rule
from bench.audit.rules import RULES
from bench.store.audit import AuditRecord, Finding, RuleResult
from bench.store.outcomes import RunOutcome, address, read_outcomes
from bench.store.probes import Gradients, ProbeResult, RowProbes
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory
from bench.suites.naming import entry_of, with_defaults
from bench.suites.spec import AttackSpec

N = 80
"""Images of a run, all of which its probes attack: seven of them are significant, and less than a tenth; eight are a tenth."""
WRONG = range(72, 80)
"""Misclassified when clean."""
FGSM = Planned(attack="fgsm", wrong=WRONG, broken=range(24))
PGD = Planned(attack="pgd-20", wrong=WRONG, broken=range(40))
ROW = (FGSM, PGD)
"""What a healthy row's own attacks break."""
HEALTHY: Mapping[str, Collection[int]] = {
    "noise": range(1),
    "single-step": range(24),
    "growth:1/2": range(20),
    "growth:1": range(40),
    "growth:2": range(60),
    "large-eps": range(72),
    "more-steps": range(41),
    "more-restarts": range(41),
    "gradient-free": range(30),
}
"""What its probes break: images that are harder the higher their position."""
EPS = {"growth:1/2": "4/255", "growth:2": "16/255", "large-eps": "1/2"}
SMOOTH = Gradients(samples=72, missing=0.0, zero=0.0, zero_loss=0.0, vanishing=0.0, noise_cosine=0.9, slope_error=0.01)
PROVENANCE: Mapping[str, Any] = {
    "dataset": "d" * 16,
    "weights": "w" * 16,
    "architecture": "a" * 16,
    "environment": {
        "python": "3.11.9",
        "versions": {"robustness-bench": "0.1.0", "torch": "2.13.0", "torchvision": "0.28.0", "numpy": "2.4.0"},
    },
}
Edit = Callable[[CellResult], CellResult]


@dataclass(frozen=True)
class Control:
    """What an attack broke of the linear model."""

    broken: Collection[int] = range(N)
    breakable: Collection[int] = range(N)
    failed: str = ""


@dataclass(frozen=True)
class Probed:
    """What the probes of one row saw: a healthy row, where nothing else is said."""

    broken: Mapping[str, Collection[int] | str | None] = field(default_factory=dict)
    """positions by probe; a text says why it failed, and ``None`` that there is none"""
    gradients: Gradients | None = SMOOTH
    controls: Mapping[str, Control] = field(default_factory=lambda: {"pgd-20": Control()})
    positions: Sequence[int] = range(N)
    wrong: Collection[int] = WRONG
    model: str = "model-a"
    defense: str = "none"
    threat_model: str = "linf:8/255"
    failed: str = ""

    def record(self) -> RowProbes:
        """As on disk."""
        seen: dict[str, Collection[int] | str | None] = {**HEALTHY, **self.broken}
        return RowProbes(
            key="0123456789ab",
            model=self.model,
            defense=self.defense,
            threat_model=self.threat_model,
            positions=tuple(self.positions),
            clean_correct=tuple(position not in self.wrong for position in self.positions),
            probes={name: self._probe(name, broken) for name, broken in seen.items() if broken is not None},
            gradients=self.gradients,
            controls={name: _control(name, one) for name, one in self.controls.items()},
            strongest="pgd-20",
            failed=self.failed,
        )

    def _probe(self, name: str, broken: Collection[int] | str) -> ProbeResult:
        attack = AttackSpec(id="pgd-20", name="pgd", args={"steps": 50})
        eps = EPS.get(name, "8/255")
        if isinstance(broken, str):
            return ProbeResult(name=name, attack=attack, eps=eps, failed=broken)
        found = tuple(one in broken and one not in self.wrong for one in self.positions)
        return ProbeResult(name=name, attack=attack, eps=eps, broken=found)


def _control(name: str, control: Control) -> ProbeResult:
    attack, eps = AttackSpec(id=name, name=name.partition("-")[0]), "8/255"
    if control.failed:
        return ProbeResult(name=f"control:{name}", attack=attack, eps=eps, failed=control.failed)
    return ProbeResult(
        name=f"control:{name}",
        attack=attack,
        eps=eps,
        broken=tuple(one in control.broken for one in range(N)),
        details={"breakable": [one in control.breakable for one in range(N)]},
    )


@dataclass(frozen=True)
class Audited:
    """A run and what its audit says."""

    run: RunDirectory
    record: AuditRecord
    evidence: Evidence

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the run's cells, in the order in which they were planned."""
        return self.run.read_run().cells

    def of(self, rule: str) -> list[Finding]:
        """What one rule found."""
        return [finding for finding in self.record.findings if finding.rule == rule]

    def result(self, rule: str) -> RuleResult:
        """What became of one rule."""
        (found,) = [one for one in self.record.rules if one.rule == rule]
        return found


@dataclass(frozen=True)
class Built:
    """A run by hand, and its rows without what an audit found."""

    run: RunDirectory
    outcome: RunOutcome


def built(
    path: Path,
    cells: Sequence[Planned] = ROW,
    *,
    edit: Mapping[int, Edit] | None = None,
    stages: Mapping[int, Mapping[int, str]] | None = None,
    n: int = N,
    positions: Sequence[int] | None = None,
) -> Built:
    """Builds a run whose cells have the provenance that those of today have.

    Args:
        path: of the run.
        cells: of the run.
        edit: by cell, what is changed in its record.
        stages: by cell, the stages of an ensemble that broke positions.
        n: images of the run.
        positions: of the samples that the suite asks for.
    """
    run = build_run(path, cells, n=n, positions=positions, clean=False)
    ids = run.read_run().cells
    for index, cell in enumerate(ids):
        result = run.read_cell(cell)
        if result is not None:
            run.write_cell((edit or {}).get(index, lambda same: same)(_as_of_today(result)))
    for index, broken in (stages or {}).items():
        rows = [synthetic_run.record(ids[index], cells[index], position) for position in range(n)]
        rows = [row._replace(stage=broken.get(row.position, "")) for row in rows]
        run.write_shard(ids[index], 0, rows, run.read_reports(ids[index])[0], None)
    return Built(run, read_outcomes(run, audited=False))


def examined(
    run: Built,
    probed: Sequence[Probed] = (Probed(),),
    *,
    verified: Callable[[Sequence[str]], Verified] = lambda ids: Verified(),
    without: str = "the probes are switched off (audit.samples: 0)",
    rules: Iterable[Rule] = RULES,
) -> Audited:
    """Gathers the evidence of a run and examines it.

    Args:
        run: as it was built.
        probed: by row.
        verified: what the verifier says, from the ids of the cells.
        without: why the rows that aren't in ``probed`` have no probes.
        rules: that look.
    """
    outcome = run.outcome
    evidence = gather(
        run.run,
        outcome,
        {(one.model, one.defense, one.threat_model): one.record() for one in probed},
        {(row.model, row.defense, address(row.threat_model)): without for row in outcome.rows},
        verified(outcome.record.cells),
    )
    samples = max((len(one.positions) for one in probed), default=0)
    return Audited(run.run, examine(evidence, made="2025-01-01T00:00:00Z", samples=samples, rules=rules), evidence)


def _as_of_today(result: CellResult) -> CellResult:
    entry = entry_of(registry.attacks, result.attack.name)
    args = with_defaults(None if entry is None else entry.params, result.attack.args)
    attack = result.attack.model_copy(update={"args": args})
    return result.model_copy(update={"attack": attack, "provenance": {**PROVENANCE, **result.provenance}})
