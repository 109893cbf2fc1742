"""How often the audit warns of rows in which nothing is wrong, by simulation: never more often than docs/audit.md says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from synthetic_audit import EPS, SMOOTH, Built, built
from synthetic_run import Planned

from bench.audit.evidence import Verified, gather
from bench.audit.examine import examine
from bench.audit.rules import RULES
from bench.store.audit import AuditRecord
from bench.store.cell_outcome import CellOutcome
from bench.store.joined import Samples
from bench.store.outcomes import RowOutcome
from bench.store.probes import ProbeResult, RowProbes
from bench.store.records import SampleRecord
from bench.store.run_directory import RunDirectory
from bench.suites.spec import AttackSpec

N = 100
"""Images, all of which the probes attack: the default of a suite."""
ROWS = 250
DOCUMENTED = 0.10
"""Share of rows with a warning where all attacks are equally strong."""
EACH = 0.03
"""The same for each rule: 1 in 100, of those on transfer and growth 2, since they compare twice; 1 more for chance."""
HEALTHY = 0.02
"""The same where white-box attacks are stronger than the others and have converged."""
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Breaks = Callable[[float], Bools]
"""What an attack of some strength breaks of one row's images: the share of those that it can break, shape (N,)."""

CELLS = {"fgsm": 0.30, "pgd-20": 0.50, "cw": 0.49, "square": 0.40}
"""Strengths of a healthy row's own attacks."""
PROBES = {
    "noise": 0.03,
    "transfer:b": 0.20,
    "transfer:c": 0.25,
    "single-step": 0.30,
    "growth:1/2": 0.30,
    "growth:1": 0.50,
    "growth:2": 0.75,
    "large-eps": 1.10,
    "more-steps": 0.51,
    "more-restarts": 0.51,
    "gradient-free": 0.40,
}
"""Strengths of its probes."""
EQUAL = {**dict.fromkeys(PROBES, 0.50), "large-eps": 1.10}


def nested(rng: np.random.Generator, hardness: Floats) -> Breaks:
    """Whatever a weaker attack breaks, a stronger one breaks as well."""
    return lambda strength: hardness < strength


def noisy(rng: np.random.Generator, hardness: Floats) -> Breaks:
    """Each attack finds some images a little easier or harder than others do."""
    return lambda strength: hardness + rng.normal(0, 0.02, N) < strength


def slipping(rng: np.random.Generator, hardness: Floats) -> Breaks:
    """Each attack misses one in twenty of the images that it could break."""
    return lambda strength: (hardness < strength) & ((rng.random(N) < 0.95) | (strength > 1))


def clustered(rng: np.random.Generator, hardness: Floats) -> Breaks:
    """Images come in ten classes, each of which is about as hard."""
    return noisy(rng, 0.8 * rng.random(10)[rng.integers(0, 10, N)] + 0.2 * hardness)


def drawn(rng: np.random.Generator, hardness: Floats) -> Breaks:
    """A stochastic defense: an image is broken where the majority of fifty draws is."""

    def breaks(strength: float) -> Bools:
        chance = 1 / (1 + np.exp(-(strength - hardness) / 0.02))
        broken: Bools = rng.binomial(50, chance) > 25
        return broken

    return breaks


def alone(rng: np.random.Generator, hardness: Floats) -> Breaks:
    """Every attack breaks images of its own, whatever the others break."""
    return lambda strength: rng.random(N) < strength


STRUCTURES = {one.__name__: one for one in (nested, noisy, slipping, clustered, drawn)}


class Quick(RunDirectory):
    """Reads the rows of its few cells once."""

    @cache  # noqa: B019 (lives as long as its test)
    def read_samples(self, cell: str, columns: Sequence[str] = SampleRecord._fields) -> pd.DataFrame:
        return super().read_samples(cell, columns)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A run of one row, whose verdicts are replaced."""
    path = tmp_path_factory.mktemp("run")
    run = built(path, [Planned(attack=name) for name in CELLS], n=N)
    return replace(run, run=Quick(path))


def simulated(
    template: Built,
    structure: Callable[[np.random.Generator, Floats], Breaks],
    cells: Mapping[str, float],
    probes: Mapping[str, float],
    *,
    converged: bool = False,
) -> AuditRecord:
    """The audit of many rows that are drawn from one model.

    Args:
        template: as above.
        structure: how the attacks of a row depend on each other.
        cells: strengths of its own attacks.
        probes: strengths of its probes.
        converged: whether more steps and restarts break nothing that its own attacks leave.
    """
    rng = np.random.default_rng(20240607)
    rows, seen = list[RowOutcome](), dict[tuple[str, str, str], RowProbes]()
    (base,) = template.outcome.rows
    for number in range(ROWS):
        right = rng.random(N) < 0.85
        breaks = structure(rng, rng.random(N))
        own = {name: right & breaks(strength) for name, strength in cells.items()}
        found = {name: right & breaks(strength) for name, strength in probes.items()}
        if converged:
            found.update(dict.fromkeys(("more-steps", "more-restarts"), np.logical_or.reduce(list(own.values()))))
        kept = [cell for cell in base.cells if cell.attack in own]
        row = replace(
            base, model=f"row-{number}", cells=tuple(_attacked(cell, right, own[cell.attack]) for cell in kept)
        )
        rows.append(row)
        seen[row.model, "none", "linf:8/255"] = _probed(row.model, right, found)
    evidence = gather(template.run, replace(template.outcome, rows=tuple(rows)), seen, {}, Verified())
    of_rows = [rule for rule in RULES if rule.scope == "row"]
    return examine(evidence, made="2025-01-01T00:00:00Z", samples=N, rules=of_rows)


def _attacked(cell: CellOutcome, right: Bools, broken: Bools) -> CellOutcome:
    clean = dict.fromkeys(("clean_correct", "clean_correctness"), right)
    judged = dict.fromkeys(("robust", "correctness", "even_correctness", "odd_correctness"), right & ~broken)
    return replace(cell, samples=Samples({**clean, **judged}, np.arange(N), N))


def _probed(model: str, right: Bools, found: Mapping[str, Bools]) -> RowProbes:
    attack = AttackSpec(id="pgd-20", name="pgd")
    results = {
        name: ProbeResult(name=name, attack=attack, eps=EPS.get(name, "8/255"), broken=tuple(broken.tolist()))
        for name, broken in found.items()
    }
    return RowProbes(
        key="0",
        model=model,
        defense="none",
        threat_model="linf:8/255",
        positions=tuple(range(N)),
        clean_correct=tuple(right.tolist()),
        probes=results,
        gradients=SMOOTH,
    )


def warned(record: AuditRecord) -> float:
    """Share of the rows with a warning, or worse."""
    return len({one.model for one in record.findings if one.severity != "info"}) / ROWS


def by_rule(record: AuditRecord) -> dict[str, float]:
    """The same by rule, of those that fired."""
    rules = {one.rule for one in record.findings if one.severity != "info"}
    return {
        rule: len({one.model for one in record.findings if (one.rule, one.severity != "info") == (rule, True)}) / ROWS
        for rule in rules
    }


@pytest.mark.parametrize("structure", STRUCTURES)
def test_healthy_rows_raise_next_to_nothing(template: Built, structure: str) -> None:
    record = simulated(template, STRUCTURES[structure], CELLS, PROBES)
    assert warned(record) <= HEALTHY, by_rule(record)
    checked = {one.rule: one.checked for one in record.rules if not one.unchecked}
    assert checked["gradient-free-stronger"] == checked["more-steps-help"] == checked["large-eps"] == ROWS


@pytest.mark.parametrize("structure", [*STRUCTURES, "alone"])
def test_rows_whose_attacks_are_all_equally_strong_keep_the_documented_level(template: Built, structure: str) -> None:
    chosen = {**STRUCTURES, "alone": alone}[structure]
    record = simulated(template, chosen, {"pgd-20": 0.50}, EQUAL, converged=True)
    assert warned(record) <= DOCUMENTED, by_rule(record)
    assert max(by_rule(record).values(), default=0) <= EACH, by_rule(record)


def test_masked_gradients_are_found_in_every_row(template: Built) -> None:
    masked = {**CELLS, "fgsm": 0.05, "pgd-20": 0.05, "cw": 0.05}
    weak = dict.fromkeys(
        ("single-step", "growth:1/2", "growth:1", "growth:2", "large-eps", "more-steps", "more-restarts"), 0.05
    )
    record = simulated(template, slipping, masked, {**PROBES, **weak})
    assert warned(record) == 1
    assert {"gradient-free-stronger", "large-eps", "transfer-stronger"} <= set(by_rule(record))
