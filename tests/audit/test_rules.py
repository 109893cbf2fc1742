"""Every rule of the audit on planted evidence: where it must fire, where it nearly does, and where it can't look."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from planted import CASES
from planted.case import Case
from synthetic_audit import ROW, WRONG, Built, N, Probed, built, examined
from synthetic_run import Planned

from bench.audit.evidence import Rounding, Verified
from bench.audit.rules import RULES

ALWAYS = {
    "few-samples",
    "no-backward-pass",
    "unmarked-randomness",
    "eot",
    "silent-success",
    "no-distance-found",
    "provenance",
    "mixed-versions",
    "robust-above-clean",
}
"""Rules that look at records alone, of which there are some wherever they look."""


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], Built]]:
    """The run of a case; cases that plant nothing in its files share one."""
    made: dict[str, Built] = {}

    def run(case: Case) -> Built:
        key = repr((case.cells, case.n, case.stages, sorted((place, id(edit)) for place, edit in case.edit.items())))
        if key not in made:
            path = tmp_path_factory.mktemp("run")
            made[key] = built(path, case.cells, edit=case.edit, stages=case.stages, n=case.n)
        return made[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.fsync", lambda descriptor: None)  # nobody kills these runs, and there are many
        yield run


@pytest.mark.parametrize("case", CASES, ids=[f"{case.rule}: {case.name}" for case in CASES])
def test_a_rule_says_what_it_must(run_of: Callable[[Case], Built], case: Case) -> None:
    (rule,) = [rule for rule in RULES if rule.id == case.rule]
    found = examined(run_of(case), case.probed, verified=case.verified, rules=[rule])
    findings, result = found.of(case.rule), found.result(case.rule)
    assert len(findings) == len(case.seen), [finding.message for finding in findings]
    for finding, seen in zip(findings, case.seen, strict=True):
        assert finding.severity == seen.severity, finding.message
        assert re.search(seen.message, finding.message), finding.message
        assert finding.cells == tuple(found.ids[place] for place in seen.cells)
        assert (finding.model, finding.defense, finding.threat_model) == (*seen.row, seen.threat_model)
        assert {key: finding.evidence[key] for key in seen.evidence} == seen.evidence
        assert finding.advice == rule.advice
    assert result.findings == sum(seen.severity != "info" for seen in case.seen)
    if case.unchecked:
        assert any(case.unchecked == reason or re.fullmatch(case.unchecked, reason) for reason in result.unchecked)
    elif case.meant:
        assert result.checked >= 1
    else:
        assert (result.checked, result.unchecked) == (0, {})


def test_every_rule_has_every_kind_of_case() -> None:
    known = {rule.id for rule in RULES}
    for kind, wanted in (
        ("fires", known - {"not-separable", "hairline"}),
        ("quiet", known),
        ("unchecked", known - ALWAYS),
    ):
        assert {case.rule for case in CASES if case.kind == kind} == wanted
    assert {case.rule for case in CASES if case.seen} == known
    assert len({(case.rule, case.name) for case in CASES}) == len(CASES)


def test_every_rule_says_what_it_is() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.id)
        assert all((rule.title, rule.means, rule.advice)), rule.id
        assert re.search(r"\b(19|20)\d\d\b", rule.source), rule.id
        assert not re.search(r"[.]$", rule.title), rule.id
        assert not rule.strength or rule.scope == "row", rule.id
    assert len({rule.title for rule in RULES}) == len(RULES)


def test_a_healthy_run_is_clean_and_every_rule_that_can_looks_at_it(tmp_path: Path) -> None:
    cells = [*ROW, *(Planned("model-b", one.attack, [*range(20, 72)], WRONG) for one in ROW)]
    probed = [
        Probed({"transfer:model-b": range(10)}),
        Probed(
            {
                "transfer:model-a": range(20, 30),
                **{name: range(20, 72) for name in ("growth:1", "growth:2", "more-steps", "more-restarts")},
            },
            model="model-b",
        ),
    ]
    found = examined(built(tmp_path, cells), probed, verified=lambda ids: Verified(rounding={ids[1]: Rounding(40, 39)}))
    assert [finding for finding in found.record.findings if finding.severity != "info"] == []
    unmeant = {rule.rule for rule in found.record.rules if not rule.checked and not rule.unchecked}
    assert unmeant == {"no-bpda", "not-joint", "fails-undefended"}
    unchecked = {rule.rule: dict(rule.unchecked) for rule in found.record.rules if rule.unchecked}
    rows = ("model-a | Linf 8/255", "model-b | Linf 8/255")
    assert unchecked == {"clean-accuracy": {"there is no published clean accuracy": rows}}
    assert found.record.samples == N
    assert set(found.record.cells) == set(found.ids)
