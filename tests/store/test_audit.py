"""What an audit found, on disk and beside the cells, rows and tables that it speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from synthetic_run import Planned, build_run

from bench.errors import SchemaError, StoreError
from bench.store.audit import AuditRecord, Finding, RuleResult
from bench.store.outcomes import RowOutcome, RunOutcome, cell_digest, read_outcomes
from bench.store.probes import Gradients, ProbeResult, RowProbes
from bench.store.records import Flag
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.spec import AttackSpec

CELLS = (
    Planned("a", "fgsm"),
    Planned("a", "pgd-20"),
    Planned("a", "pgd-20", defense="jpeg-q75"),
    Planned("b", "pgd-20"),
    Planned("a", "pgd-20", threat_model="l2:0.5"),
)
ROWS = ("a linf", "a+jpeg-q75 linf", "b linf", "a l2")
GRADIENTS = Gradients(
    samples=3, missing=0.0, zero=1 / 3, zero_loss=0.0, vanishing=0.0, noise_cosine=None, slope_error=None
)


def finding(message: str, **more: object) -> Finding:
    return Finding(rule="a-rule", severity="warning", message=message, **more)  # type: ignore[arg-type]


def audit(run: RunDirectory, *findings: Finding) -> AuditRecord:
    """Writes what an audit of the run as it is would say."""
    record = AuditRecord(
        made="2025-01-01T00:00:00Z",
        samples=20,
        cells={cell: cell_digest(run, cell) for cell in run.read_run().cells},
        rules=(RuleResult(rule="a-rule", title="a title", checked=2, unchecked={"no light": ("x", "y")}, findings=1),),
        findings=findings,
    )
    run.write_audit(record)
    return record


def label(row: RowOutcome) -> str:
    return f"{row.model}{'' if row.bare else '+' + row.defense} {row.threat_model.norm}"


def of_rows(outcome: RunOutcome) -> dict[str, list[str]]:
    """What stands beside each row."""
    return {label(row): [one.message for one in row.findings] for row in outcome.rows}


def of_cells(outcome: RunOutcome) -> dict[tuple[str, str], list[str]]:
    """What stands beside each cell, where anything does."""
    cells = [(label(row), cell) for row in outcome.rows for cell in row.cells]
    return {(row, cell.attack): [one.message for one in cell.findings] for row, cell in cells if cell.findings}


def test_an_audit_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = build_run(tmp_path, CELLS, clean=False)
    assert run.read_audit() is None
    cell = run.read_run().cells[0]
    written = audit(
        run,
        finding("of a cell", cells=(cell,), model="a", defense="none", threat_model="linf:8/255"),
        finding(
            "numbers", evidence={"p": 1e-300, "rows": ["a", "b"], "of": {"torch": {"2.13.0": [cell]}}, "none": None}
        ),
    )
    assert run.read_audit() == written
    assert written.worst() == "warning"
    assert audit(run).worst() is None


@pytest.mark.parametrize("severities", [("info", "warning", "invalid"), ("invalid", "info")])
def test_the_worst_of_an_audit_is_its_severest(tmp_path: Path, severities: Sequence[str]) -> None:
    run = build_run(tmp_path, CELLS[:1], clean=False)
    found = audit(run, *(finding("x").model_copy(update={"severity": one}) for one in severities))
    assert found.worst() == "invalid"


def test_an_audit_that_is_damaged_or_newer_is_refused(tmp_path: Path) -> None:
    run = build_run(tmp_path, CELLS[:1], clean=False)
    written = audit(run)
    path = tmp_path / "audit.json"
    path.write_text(written.model_copy(update={"schema_version": 99}).model_dump_json())
    with pytest.raises(SchemaError, match="newer bench"):
        read_outcomes(run)
    path.write_text(path.read_text()[:50])
    with pytest.raises(StoreError, match=r"audit\.json: damaged"):
        run.read_audit()
    assert read_outcomes(run, audited=False).audited is None


def test_probes_come_back_as_they_were_written(tmp_path: Path) -> None:
    run = build_run(tmp_path, CELLS[:1], clean=False)
    attack = AttackSpec(id="pgd-50", name="pgd", backend="bench", args={"steps": 50, "alpha": None})
    written = RowProbes(
        key="0123456789ab",
        model="a",
        defense="none",
        threat_model="linf:8/255",
        positions=(7, 2, 5),
        clean_correct=(True, False, True),
        probes={
            "more-steps": ProbeResult(
                name="more-steps", attack=attack, eps="8/255", broken=(True, False, False), seconds=1.5
            ),
            "noise": ProbeResult(name="noise", eps="8/255", failed="RuntimeError: out of memory"),
        },
        gradients=GRADIENTS,
        controls={"pgd-20": ProbeResult(name="control:pgd-20", eps="8/255", details={"breakable": [True, False]})},
        strongest="pgd-20",
    )
    run.write_probes("a-linf-8_255-pgd-20-s0", written)
    run.write_probes("a-linf-8_255-pgd-20-s0", written.model_copy(update={"key": "ba9876543210", "gradients": None}))
    assert run.read_probes("0123456789ab") == written
    other = run.read_probes("ba9876543210")
    assert other is not None
    assert other.gradients is None
    assert run.read_probes("ffffffffffff") is None
    assert (tmp_path / "probes" / "a-linf-8_255-pgd-20-s0-0123456789ab.json").is_file()


def test_every_finding_stands_where_it_belongs(tmp_path: Path) -> None:
    run = build_run(tmp_path, CELLS, clean=False)
    ids = run.read_run().cells
    audit(
        run,
        finding("run"),
        finding("table", threat_model="linf:8/255"),
        finding("row", threat_model="linf:8/255", model="a", defense="none"),
        finding("defended", threat_model="linf:8/255", model="a", defense="jpeg-q75"),
        finding("cell", threat_model="linf:8/255", model="a", defense="none", cells=(ids[1],)),
        finding("two cells", cells=(ids[0], ids[3])),
        finding("nowhere", threat_model="linf:4/255", model="a", defense="none"),
    )
    outcome = read_outcomes(run)
    assert of_rows(outcome) == dict(
        zip(ROWS, (["run", "table", "row"], ["run", "table", "defended"], ["run", "table"], ["run"]), strict=True)
    )
    assert of_cells(outcome) == {
        ("a linf", "fgsm"): ["two cells"],
        ("a linf", "pgd-20"): ["cell"],
        ("b linf", "pgd-20"): ["two cells"],
    }
    assert all(row.complete for row in outcome.rows)
    assert of_rows(read_outcomes(run, audited=False)) == {row: [] for row in ROWS}


@pytest.mark.parametrize(
    ("place", "unranked"),
    [
        ({"threat_model": "linf:8/255", "model": "a", "defense": "none"}, {"a linf"}),
        ({"threat_model": "linf:8/255"}, {"a linf", "a+jpeg-q75 linf", "b linf"}),
        ({}, set(ROWS)),
        ({"cells": (3,)}, {"b linf"}),
    ],
)
def test_what_is_invalid_is_not_ranked(tmp_path: Path, place: dict[str, object], unranked: set[str]) -> None:
    run = build_run(tmp_path, CELLS, clean=False)
    ids = run.read_run().cells
    if "cells" in place:
        place = {"cells": tuple(ids[index] for index in place["cells"])}  # type: ignore[attr-defined]
    audit(run, finding("x", **place).model_copy(update={"severity": "invalid"}))
    outcome = read_outcomes(run)
    assert {label(row) for row in outcome.rows if not row.complete} == unranked
    invalid = [cell.id for row in outcome.rows for cell in row.cells if not cell.valid]
    assert invalid == ([ids[3]] if "cells" in place else [])
    assert all(row.complete for row in read_outcomes(run, audited=False).rows)


def test_findings_of_cells_outlive_a_new_name(tmp_path: Path) -> None:
    run = build_run(tmp_path, CELLS[:2], clean=False)
    record = run.read_run()
    audit(run, finding("x", cells=(record.cells[1],)).model_copy(update={"severity": "invalid"}))
    model = record.suite.models[0].model_copy(update={"id": "renamed"})
    renamed = tuple(f"renamed-{cell.partition('-')[2]}" for cell in record.cells)
    run.write_run(
        record.model_copy(update={"cells": renamed, "suite": record.suite.model_copy(update={"models": (model,)})})
    )
    for old, new in zip(record.cells, renamed, strict=True):
        result = run.read_cell(old)
        assert result is not None
        run.write_cell(result.model_copy(update={"cell": new, "model": model}))
    outcome = read_outcomes(run)
    assert hash_of(renamed[1]) == hash_of(record.cells[1])
    assert of_cells(outcome) == {("renamed linf", "pgd-20"): ["x"]}
    assert not outcome.rows[0].complete
    assert outcome.outdated == 2


def test_an_audit_goes_out_of_date_with_its_cells(tmp_path: Path) -> None:
    late = Planned("c", "pgd-20", recorded=False, rows=())
    run = build_run(tmp_path, (*CELLS, late), clean=False)
    assert read_outcomes(run).outdated == 0  # never audited
    record = run.read_run()
    audit(run)
    assert read_outcomes(run).outdated == 0
    first = run.read_cell(record.cells[0])
    assert first is not None
    run.write_cell(first)
    assert read_outcomes(run).outdated == 0
    run.write_cell(first.model_copy(update={"flags": (Flag(rule="f", severity="info", message="new"),)}))
    assert read_outcomes(run).outdated == 1
    run.write_cell(first.model_copy(update={"cell": record.cells[-1]}))  # the late one is finished
    assert read_outcomes(run).outdated == 2
    audit(run)
    new = "d-linf-8_255-pgd-20-s0-0123456789ab"
    run.write_run(record.model_copy(update={"cells": (*record.cells, new)}))
    assert read_outcomes(run).outdated == 0  # it has no number yet
    run.write_cell(first.model_copy(update={"cell": new}))
    assert read_outcomes(run).outdated == 1
    run.write_run(record.model_copy(update={"cells": record.cells[2:]}))
    assert read_outcomes(run).outdated == 2  # what the rows were judged by is gone
    assert read_outcomes(run, audited=False).outdated == 0


def test_a_renamed_row_keeps_what_was_found_of_it(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(), Planned(model="model-b")])
    cells = run.read_run().cells
    found = Finding(
        rule="large-eps", severity="invalid", message="m", threat_model="linf:8/255", model="old-name", defense="none",
        row=(cells[0],),
    )  # fmt: skip
    run.write_audit(AuditRecord(made="2026-01-01T00:00:00+00:00", samples=0, cells={}, rules=(), findings=(found,)))
    rows = {row.model: (row.findings, row.complete) for row in read_outcomes(run).rows}
    assert rows == {"model-a": ((found,), False), "model-b": ((), True)}
