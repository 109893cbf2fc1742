"""The per-sample join of a run's cells, against verdicts chosen by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import Planned, build_run

from bench.errors import StoreError
from bench.store.outcomes import RowOutcome, RunOutcome, read_outcomes
from bench.store.records import Flag


def where(mask: np.ndarray) -> list[int]:
    return np.flatnonzero(mask).tolist()


def row(outcome: RunOutcome, label: str, threat_model: str = "Linf 8/255") -> RowOutcome:
    (found,) = [one for one in outcome.rows if one.label == label and one.threat_model.label == threat_model]
    return found


def test_the_worst_case_is_the_union_per_sample(tmp_path: Path) -> None:
    run = build_run(
        tmp_path,
        [
            Planned(attack="fgsm", broken=[0, 1], wrong=[9]),
            Planned(attack="pgd-20", broken=[1, 2], wrong=[9]),
            Planned(attack="pgd-20", broken=[3], wrong=[9], role="prerequisite", search="strongest"),
        ],
        n=10,
    )
    got = row(read_outcomes(run), "model-a")
    assert where(~got.worst) == [0, 1, 2, 3, 9]
    assert where(~got.clean_correct) == [9]
    assert got.complete


def test_only_the_current_positions_count(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(broken=[0, 5, 8], wrong=[1])], n=10, positions=[1, 5, 7])
    outcome = read_outcomes(run)
    assert outcome.samples == 3
    assert row(outcome, "model-a").worst.tolist() == [False, False, True]
    assert row(outcome, "model-a").clean_correct.tolist() == [False, True, True]


def test_without_positions_every_row_counts(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(rows=[2, 4, 6], broken=[4])], n=10)
    run.write_run(run.read_run().model_copy(update={"positions": ()}))
    outcome = read_outcomes(run)
    assert outcome.samples == 3
    assert outcome.rows[0].worst.tolist() == [True, False, True]


def test_rows_and_roles(tmp_path: Path) -> None:
    run = build_run(
        tmp_path,
        [
            Planned(broken=[0]),
            Planned(role="prerequisite", search="strongest", broken=[1]),
            Planned(defense="jpeg-q75", broken=[2]),
            Planned(defense="jpeg-q75", role="oblivious", adversary="oblivious", broken=[3]),
            Planned(defense="jpeg-q75", role="gradient_free", attack="square", broken=[4]),
        ],
    )
    outcome = read_outcomes(run)
    assert [one.label for one in outcome.rows] == ["model-a", "model-a + jpeg-q75"]
    defended = row(outcome, "model-a + jpeg-q75")
    assert where(~defended.worst) == [2, 3, 4]
    assert [where(~cell.robust) for cell in defended.of("oblivious")] == [[3]]
    assert where(~row(outcome, "model-a").worst) == [0, 1]
    assert not defended.bare


def test_prerequisites_alone_make_no_row(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(role="prerequisite"), Planned(defense="jpeg-q75", broken=[2])])
    assert [one.label for one in read_outcomes(run).rows] == ["model-a + jpeg-q75"]


def test_successes_of_a_failed_cell_count_and_the_row_is_incomplete(tmp_path: Path) -> None:
    run = build_run(
        tmp_path,
        [
            Planned(attack="fgsm", broken=[0]),
            Planned(attack="pgd-20", status="error", reason="left the ball", rows=range(5), broken=[1]),
        ],
    )
    got = row(read_outcomes(run), "model-a")
    assert where(~got.worst) == [0, 1]
    assert not got.complete
    assert [(cell.status, cell.reason) for cell in got.cells] == [("done", ""), ("error", "left the ball")]


@pytest.mark.parametrize(
    ("defense", "adversary", "role", "attack", "expected"),
    [
        ("none", "adaptive", "suite", "pgd-20", "suite"),
        ("jpeg-q75", "adaptive", "suite", "pgd-20", "suite"),
        ("jpeg-q75", "oblivious", "oblivious", "pgd-20", "oblivious"),
        ("jpeg-q75", "adaptive", "gradient_free", "square", "gradient_free"),
        ("mahalanobis-1", "adaptive", "suite", "adam_pgd-200", "suite"),
        ("none", "adaptive", "prerequisite", "pgd-20", "prerequisite"),
    ],
)
def test_an_unfinished_cell_finds_its_row(
    tmp_path: Path, defense: str, adversary: str, role: str, attack: str, expected: str
) -> None:
    lost = Planned(
        model="My+Model_1",
        defense=defense,
        adversary=adversary,
        role=role,
        attack=attack,
        recorded=False,
        rows=range(4),
        broken=[3],
        seed=7,
        search="strongest",
    )
    finished = Planned(model="My+Model_1", defense=defense, attack="fgsm")
    twin = [Planned(model="My+Model_1", attack="pgd-20", seed=7)] if expected == "prerequisite" else []
    outcome = read_outcomes(build_run(tmp_path, [finished, *twin, lost, Planned(model="other", defense=defense)]))
    mine, other = outcome.rows
    assert mine.model == "My+Model_1"
    missing = mine.cells[-1]
    assert (missing.status, missing.role, missing.attack, missing.seed) == ("missing", expected, attack, 7)
    assert "4 of 20" in missing.reason
    assert where(~mine.worst) == [3]
    assert not mine.complete
    assert other.complete


def test_a_row_without_any_finished_cell_is_there(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(), Planned(model="late", recorded=False, rows=[])])
    late = row(read_outcomes(run), "late")
    assert not late.complete
    assert not late.known.any()
    assert late.worst.all()


def test_an_unfinished_cell_that_fits_nowhere_leaves_no_row_complete(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned()])
    record = run.read_run()
    run.write_run(record.model_copy(update={"cells": (*record.cells, "something-else-0123456789ab")}))
    outcome = read_outcomes(run)
    assert outcome.unplaced == ("something-else-0123456789ab",)
    assert not outcome.rows[0].complete


def test_lost_rows_make_a_done_cell_partial(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(rows=range(15), broken=[2])])
    (cell,) = read_outcomes(run).rows[0].cells
    assert cell.status == "partial"
    assert "5 of 20" in cell.reason
    shutil.rmtree(tmp_path / "samples")
    (cell,) = read_outcomes(run).rows[0].cells
    assert (cell.status, int(cell.known.sum())) == ("partial", 0)


def test_a_damaged_part_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(attack="fgsm", broken=[0]), Planned(attack="pgd-20")])
    part = next((tmp_path / "samples").glob("*pgd-20*/part-00000.parquet"))
    part.write_bytes(b"not a parquet file")
    (got,) = read_outcomes(run).rows
    assert [cell.status for cell in got.cells] == ["done", "error"]
    assert str(part) in got.cells[1].reason
    assert not got.complete


def test_an_invalid_flag_keeps_a_row_from_the_ranking(tmp_path: Path) -> None:
    flag = Flag(rule="zero-gradients", severity="invalid", message="the gradient is zero")
    warning = Flag(rule="few-samples", severity="warning", message="20 images")
    run = build_run(tmp_path, [Planned(flags=(flag,)), Planned(model="b", flags=(warning,))])
    assert [one.complete for one in read_outcomes(run).rows] == [False, True]


def test_the_same_row_under_several_threat_models(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(broken=[0]), Planned(threat_model="linf:4/255"), Planned(threat_model="l2:0.5")])
    outcome = read_outcomes(run)
    assert [one.label for one in outcome.threat_models] == ["Linf 8/255", "Linf 4/255", "L2 0.5"]
    assert [len(outcome.under(one)) for one in outcome.threat_models] == [1, 1, 1]


def test_cells_that_disagree_about_an_image_are_refused(tmp_path: Path) -> None:
    import synthetic_run

    run = build_run(tmp_path, [Planned(attack="fgsm"), Planned(attack="pgd-20")], n=4)
    cell = run.read_run().cells[1]
    rows = [synthetic_run.record(cell, Planned(), position) for position in range(4)]
    rows[2] = rows[2]._replace(sample_digest="f" * 16)
    report = run.read_reports(cell)[0]
    run.write_shard(cell, 0, rows, report, None)
    with pytest.raises(StoreError, match=r"position 2 holds .*f{16}"):
        read_outcomes(run)


def test_contradicting_verdicts_make_the_cell_an_error(tmp_path: Path) -> None:
    import synthetic_run

    run = build_run(tmp_path, [Planned()], n=4)
    cell = run.read_run().cells[0]
    rows = [synthetic_run.record(cell, Planned(broken=[1]), position) for position in range(4)]
    rows[1] = rows[1]._replace(robust=True)
    run.write_shard(cell, 0, rows, run.read_reports(cell)[0], None)
    (outcome,) = read_outcomes(run).rows[0].cells
    assert outcome.status == "error"
    assert "cifar10/test/00001 is recorded as robust" in outcome.reason
