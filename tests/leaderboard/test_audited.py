"""What the audit found stands beside the numbers, in every rendering, and what it couldn't look at is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from synthetic_run import Planned, build_run

import bench.leaderboard
from bench.leaderboard.latex import latex
from bench.leaderboard.markdown import markdown
from bench.leaderboard.records import Leaderboard, Table
from bench.leaderboard.table import make
from bench.leaderboard.terminal import plain
from bench.store.audit import AuditRecord, Finding, RuleResult
from bench.store.outcomes import cell_digest
from bench.store.records import Flag
from bench.store.run_directory import RunDirectory

ROWS = [
    Planned(model="a", attack="fgsm", broken=range(2)),
    Planned(model="a", attack="pgd-20", broken=range(5)),
    Planned(model="b", attack="fgsm", broken=range(8)),
    Planned(model="b", attack="pgd-20", broken=range(9)),
]
WEAK = Finding(
    rule="single-step-stronger",
    severity="warning",
    message="fgsm broke 2 images that pgd-20 left",
    source="Carlini et al. 2019",
    advice="give pgd-20 more steps",
    threat_model="linf:8/255",
    model="a",
    defense="none",
)
RULES = (
    RuleResult(rule="single-step-stronger", title="one step breaks more than many", checked=2, findings=1),
    RuleResult(rule="few-samples", title="too few images", checked=1, findings=0),
    RuleResult(
        rule="large-eps",
        title="a large eps that leaves images",
        checked=1,
        unchecked={"the probe failed": ("b | Linf 8/255",)},
        findings=0,
    ),
    RuleResult(
        rule="noise", title="noise breaks images", checked=0, unchecked={"no probes": ("a | Linf 8/255",)}, findings=0
    ),
    RuleResult(rule="no-eot", title="no EOT", checked=0, findings=0),
)


def audited(
    path: Path, planned: Sequence[Planned], findings: Sequence[Finding] = (), rules: Sequence[RuleResult] = RULES
) -> RunDirectory:
    """A run and its audit; what findings name in ``cells`` are indices of the cells."""
    run = build_run(path, planned)
    ids = run.read_run().cells
    named = [one.model_copy(update={"cells": tuple(ids[int(index)] for index in one.cells)}) for one in findings]
    run.write_audit(
        AuditRecord(
            made="2025-01-01T00:00:00Z",
            samples=10,
            cells={cell: cell_digest(run, cell) for cell in ids},
            rules=tuple(rules),
            findings=tuple(named),
        )
    )
    return run


def table(run: RunDirectory) -> Table:
    (found,) = make(run).tables
    return found


def line(board: Leaderboard, start: str) -> str:
    (found,) = [one for one in markdown(board).splitlines() if one.startswith(start)]
    return found


def test_a_finding_of_one_attack_stands_beside_its_number(tmp_path: Path) -> None:
    run = audited(tmp_path, ROWS, [WEAK.model_copy(update={"cells": ("1",)})])
    a, b = table(run).rows
    assert (a.model, a.notes, a.attacks["pgd-20"].notes, a.attacks["fgsm"].notes) == ("a", (1,), (1,), ())
    assert (b.notes, b.attacks["pgd-20"].notes) == ((), ())
    text = plain(make(run), 200)
    assert "75.0 (53.1–88.8) ⚑1  75.0 (53.1–88.8) ⚑1" in text
    assert latex(make(run)).count("75.0 (53.1--88.8)\\textsuperscript{1}") == 1
    assert "75.0 (53.1--88.8)}\\textsuperscript{1}" in latex(make(run))  # the best row is bold


def test_what_is_said_of_every_cell_stands_beside_the_worst_case_only(tmp_path: Path) -> None:
    both = table(audited(tmp_path, ROWS, [WEAK.model_copy(update={"cells": ("0", "1")})])).rows[0]
    assert (both.notes, both.attacks["fgsm"].notes, both.attacks["pgd-20"].notes) == ((1,), (), ())
    alone = table(audited(tmp_path / "alone", ROWS[1:], [WEAK.model_copy(update={"cells": ("0",)})])).rows[0]
    assert (alone.notes, alone.attacks["pgd-20"].notes) == ((1, 2), (1,))  # 2: not attacked with fgsm


def test_infos_of_the_audit_stand_beside_no_number(tmp_path: Path) -> None:
    info = WEAK.model_copy(update={"cells": ("1",), "severity": "info"})
    row = table(audited(tmp_path, ROWS, [info])).rows[0]
    assert (row.notes, row.attacks["pgd-20"].notes, row.rank) == ((), (), (1, 2))


def test_an_invalid_attack_shows_a_bound(tmp_path: Path) -> None:
    run = audited(tmp_path, ROWS, [WEAK.model_copy(update={"cells": ("1",), "severity": "invalid"})])
    b, a = table(run).rows
    assert (a.model, a.rank, a.complete, b.rank) == ("a", None, False, (1, 1))
    score = a.attacks["pgd-20"]
    assert (score.bound, a.attacks["fgsm"].bound) == (True, False)
    assert score.robust is not None
    assert (score.robust.value, score.robust.low, score.robust.n) == (0.75, None, 20)
    assert line(make(run), "| –").count(" ≤ 75.0 ⚑1 |") == 2
    assert "$\\leq$~75.0\\textsuperscript{1}" in latex(make(run))
    assert "a (pgd-20): invalid: fgsm broke 2 images that pgd-20 left" in plain(make(run), 200)


def test_of_several_seeds_one_invalid_is_enough(tmp_path: Path) -> None:
    zero = Flag(rule="zero-gradient", severity="invalid", message="zero")
    planned = [Planned(broken=range(3)), Planned(broken=range(4), seed=1, flags=(zero,)), Planned(attack="fgsm")]
    score = table(build_run(tmp_path, planned)).rows[0].attacks["pgd-20"]
    assert (score.bound, score.notes, score.seeds) == (True, (1,), {0: 0.85, 1: 0.8})


def test_notes_carry_rule_source_and_advice_the_severest_first(tmp_path: Path) -> None:
    eot = Flag(rule="eot-convergence", severity="info", message="the halves agree to 0.90")
    planned = [
        Planned(model="a", attack="fgsm", flags=(eot,)),
        Planned(model="a", attack="pgd-20"),
        Planned(model="b", attack="fgsm", status="error", reason="left the ball", rows=[]),
        Planned(model="b", attack="pgd-20", broken=range(9)),
    ]
    invalid = Finding(rule="probabilities", severity="invalid", message="the outputs sum to 1", cells=("3",))
    run = audited(tmp_path, planned, [WEAK, invalid])
    notes = table(run).notes
    assert [(note.number, note.rule, note.severity) for note in notes] == [
        (1, "cell-error", "failed"),
        (2, "probabilities", "invalid"),
        (3, "single-step-stronger", "warning"),
        (4, "eot-convergence", "info"),
    ]
    assert (notes[2].subject, notes[2].source, notes[2].advice) == (
        "a",
        "Carlini et al. 2019",
        "give pgd-20 more steps",
    )
    assert line(make(run), "- ⚑3") == (
        "- ⚑3 a: fgsm broke 2 images that pgd-20 left \\[single-step-stronger\\] (Carlini et al. 2019)"
        " Advice: give pgd-20 more steps"
    )
    terminal = plain(make(run), 200)
    assert "⚑3 a: fgsm broke 2 images that pgd-20 left [single-step-stronger] (Carlini et al. 2019)\n" in terminal
    assert "fgsm broke 2 images that pgd-20 left [single-step-stronger] (Carlini et al. 2019)" in latex(make(run))


def test_a_flag_that_the_audit_takes_over_is_said_once_and_as_severely(tmp_path: Path) -> None:
    zero = Flag(rule="zero-gradient", severity="invalid", message="9 of 9 samples have\na zero gradient", source="A")
    planned = [Planned(attack="fgsm", flags=(zero,)), Planned(attack="pgd-20")]
    again = Finding(rule="zero-gradients", severity="info", message=zero.message, source="A", advice="do", cells=("0",))
    (note,) = table(audited(tmp_path, planned, [again])).notes
    assert (note.rule, note.severity, note.advice) == ("zero-gradients", "invalid", "do")
    assert note.text == "9 of 9 samples have a zero gradient"


def test_the_csv_has_the_flags_and_the_severest(tmp_path: Path) -> None:
    run = audited(
        tmp_path,
        [*ROWS, Planned(model="c", attack="fgsm"), Planned(model="c", attack="pgd-20")],
        [WEAK, WEAK.model_copy(update={"rule": "zero", "severity": "invalid", "message": "z", "cells": ("1",)})],
    )
    bench.leaderboard.write(run)
    frame = pd.read_csv(tmp_path / "leaderboard.csv", keep_default_na=False).set_index("model")
    assert frame["flags"].to_dict() == {"a": "zero single-step-stronger", "b": "", "c": ""}
    assert frame["worst_flag"].to_dict() == {"a": "invalid", "b": "", "c": ""}
    assert frame["robust:pgd-20:is_bound"].to_dict() == {"a": True, "b": False, "c": False}
    assert frame["robust:pgd-20:low"]["a"] == ""
    assert set(frame["audit"]) == {"done"}


# -- the line under a table ----------------------------------------------------------------------------------------


def test_the_line_says_what_was_checked_and_what_fired(tmp_path: Path) -> None:
    board = make(audited(tmp_path, ROWS, [WEAK, WEAK.model_copy(update={"severity": "info", "message": "x"})]))
    expected = (
        "audit: 5 rules, 3 checked on this table (1 of them not on every row), 1 could not be (no probes),"
        " 1 had nothing to look at; 1 warning"
    )
    assert line(board, "audit:") == expected
    assert expected in plain(board, 400)
    assert expected in latex(board)


def test_a_clean_audit_names_its_rules_and_proves_nothing(tmp_path: Path) -> None:
    board = make(audited(tmp_path, ROWS, rules=RULES[:2]))
    assert line(board, "audit:") == (
        "audit: 2 rules, 2 checked on this table; none of them fired, which says nothing of attacks that weren't tried"
    )
    rules = markdown(board).split("## Audit")[1].split("## Cells")[0]
    assert "| single-step-stronger | one step breaks more than many |         2 |       1 | –" in rules
    assert "few-samples" in rules
    for text in (markdown(board), plain(board, 120), latex(board)):
        assert "is robust" not in text
        assert text.count("robust") == text.count("robust accuracy")


def test_the_list_of_rules_says_what_could_not_be_checked(tmp_path: Path) -> None:
    rules = markdown(make(audited(tmp_path, ROWS))).split("## Audit")[1].split("## Cells")[0]
    assert "the probe failed: b \\| Linf 8/255" in rules
    assert "no probes: a \\| Linf 8/255" in rules
    assert "its probes attacked 10 images" in rules


def test_each_table_counts_its_own(tmp_path: Path) -> None:
    cells = [Planned(threat_model=t, broken=range(3)) for t in ("linf:8/255", "l2:0.5")]
    own = WEAK.model_copy(update={"model": "model-a", "threat_model": "l2:1/2", "severity": "invalid"})
    whole = Finding(rule="versions", severity="warning", message="two versions")
    rules = [
        RuleResult(rule="x", title="x", checked=1, unchecked={"no\nlight": ("model-a | L2 0.5",)}, findings=1),
        RuleResult(rule="y", title="y", checked=1, unchecked={"one row": ("L2 0.5",)}, findings=0),
        RuleResult(rule="z", title="z", checked=0, unchecked={"no files": ("the run",)}, findings=0),
    ]
    board = make(audited(tmp_path, cells, [own, whole], rules))
    linf, l2 = (one for one in markdown(board).splitlines() if one.startswith("audit:"))
    assert linf == "audit: 3 rules, 2 checked on this table, 1 could not be (no files); 1 warning"
    assert l2 == (
        "audit: 3 rules, 0 checked on this table, 3 could not be (no light; one row; no files); 1 invalid, 1 warning"
    )
    assert [found.rows[0].complete for found in board.tables] == [True, False]


def test_without_an_audit_every_table_says_so(tmp_path: Path) -> None:
    run = build_run(tmp_path, ROWS)
    board = make(run)
    assert board.audit is None
    for text in (markdown(board), plain(board, 120)):
        assert text.count("not audited: run `bench audit RUN`") == 1
    assert "## Audit" not in markdown(board)
    bench.leaderboard.write(run)
    assert set(pd.read_csv(tmp_path / "leaderboard.csv", keep_default_na=False)["audit"]) == {"none"}


def test_an_audit_of_other_records_is_out_of_date(tmp_path: Path) -> None:
    run = audited(tmp_path, ROWS, [WEAK])
    cell = run.read_cell(run.read_run().cells[0])
    assert cell is not None
    run.write_cell(cell.model_copy(update={"flags": (Flag(rule="x", severity="info", message="new"),)}))
    board = make(run)
    assert board.audit is not None
    assert board.audit.outdated == 1
    assert line(board, "audit:").endswith("; out of date, 1 cell has changed since: run `bench audit RUN` again")
    bench.leaderboard.write(run)
    assert set(pd.read_csv(tmp_path / "leaderboard.csv")["audit"]) == {"outdated"}


@pytest.mark.parametrize("width", [60, 120, 200])
def test_marks_beside_attacks_never_break_the_terminal(tmp_path: Path, width: int) -> None:
    run = audited(tmp_path, ROWS, [WEAK.model_copy(update={"cells": ("1",), "severity": "invalid"})])
    text = plain(make(run), width)
    assert max(map(len, text.splitlines())) <= width
    assert "≤ 75.0 ⚑1" in text


def test_the_json_keeps_the_audit(tmp_path: Path) -> None:
    run = audited(tmp_path, ROWS, [WEAK])
    bench.leaderboard.write(run)
    read = Leaderboard.model_validate_json((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert read == make(run)
    assert read.audit is not None
    assert [rule.rule for rule in read.audit.rules] == [rule.rule for rule in RULES]
    assert read.tables[0].notes[0].advice == "give pgd-20 more steps"
    assert read.tables[0].found == {"warning": 1}


def test_the_rate_that_survives_rounding_stands_beside_its_cell(tmp_path: Path) -> None:
    found = Finding(
        rule="rounding", severity="info", message="1 of 4", cells=("1",), evidence={"successes": 4, "left": 3}
    )
    board = make(audited(tmp_path, ROWS, [found]))
    assert [cell.rounded for cell in board.cells[:2]] == [None, 0.75]
    lines = [[part.strip() for part in line.split("|")] for line in markdown(board).splitlines()]
    header = next(parts for parts in lines if "8 bits" in parts)
    shown = [
        parts[header.index("8 bits")] for parts in lines if len(parts) == len(header) and parts[5:7] == ["0", "done"]
    ]
    assert shown == ["–", "75.0", "–", "–"]
