"""The matrices of transferred examples in every form: Markdown, CSV, JSON, LaTeX, terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from synthetic_run import Planned, build_run

import bench.leaderboard
from bench.leaderboard.explain import explain
from bench.leaderboard.latex import latex
from bench.leaderboard.prose import prose
from bench.leaderboard.table import make
from bench.stats import wilson
from bench.store.run_directory import RunDirectory

A, B = "model-a", "model_b"
A_OWN = Planned(model=A, broken=range(10), search="strongest", role="prerequisite")
B_OWN = Planned(model=B, broken=range(3), search="strongest", role="prerequisite")
A_ON_B = Planned(model=B, broken={0, 1, 12}, role="transfer", adversary="transfer", source=A, examples_of=0)
B_ON_A = Planned(model=A, broken=(), role="transfer", adversary="transfer", source=B, examples_of=3)
CELLS = [A_OWN, Planned(model=A, broken=range(9)), Planned(model=B, broken=range(2)), B_OWN, A_ON_B, B_ON_A]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return build_run(tmp_path, CELLS)


def test_every_line_of_the_csv_says_of_how_many(run: RunDirectory) -> None:
    assert run.path / "transfer.csv" in bench.leaderboard.write(run)
    frame = pd.read_csv(run.path / "transfer.csv").set_index(["source", "model"])
    assert len(frame) == 4
    line = frame.loc[A, B]
    assert (line["norm"], line["eps"], line["attack"], line["defense"], line["status"]) == (
        "linf", "8/255", "pgd-20", "none", "done",
    )  # fmt: skip
    assert (line["success"], line["success:n"]) == (0.15, 20)
    assert (line["transfer_rate"], line["transfer_rate:n"]) == (0.2, 10)
    assert (line["robust_accuracy"], line["robust_accuracy:n"]) == (0.85, 20)
    assert [line["transfer_rate:low"], line["transfer_rate:high"]] == pytest.approx(wilson(2, 10), abs=1e-9)
    assert [line["success:low"], line["success:high"]] == pytest.approx(wilson(3, 20), abs=1e-9)
    own = frame.loc[A, A]
    assert (own["success"], own["success:n"]) == (0.5, 20)
    assert pd.isna(own["transfer_rate"])


def test_without_transfer_an_older_file_goes(run: RunDirectory) -> None:
    bench.leaderboard.write(run)
    build_run(run.path, CELLS[:3])
    bench.leaderboard.write(run)
    assert not (run.path / "transfer.csv").exists()
    assert "Transfer" not in (run.path / "leaderboard.md").read_text()


def test_the_markdown_has_both_matrices(run: RunDirectory) -> None:
    bench.leaderboard.write(run)
    lines = (run.path / "leaderboard.md").read_text().split("## Transfer", 1)[1].splitlines()
    table = [" ".join(line.split()) for line in lines if line.startswith(("| source", "| model-a ", "| model_b "))][:6]
    low, high = (f"{100 * end:.1f}" for end in wilson(3, 20))
    assert table[:2] == [
        "| source | model-a | model_b |",
        f"| model-a | **50.0 (29.9–70.1) of 20** | 15.0 ({low}–{high}) of 20 |",
    ]
    assert table[4:] == [
        "| model-a | – | 20.0 (5.7–51.0) of 10 |",
        "| model_b | 0.0 (0.0–56.1) of 3 | – |",
    ]


def test_the_json_holds_them(run: RunDirectory) -> None:
    bench.leaderboard.write(run)
    (matrix,) = json.loads((run.path / "leaderboard.json").read_text())["transfers"]
    assert (matrix["sources"], matrix["targets"]) == ([A, B], [A, B])
    assert matrix["squares"][A][B]["rate"]["n"] == 10


def test_the_latex_has_two_more_tables(run: RunDirectory) -> None:
    text = latex(make(run))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert r"model\_b" in text
    assert r"\textbf{50.0 (29.9--70.1) of 20}" in text


def test_the_terminal_has_both_numbers_in_one_cell(run: RunDirectory) -> None:
    lines = bench.leaderboard.text(run, 80).splitlines()
    start = next(place for place, line in enumerate(lines) if line.split()[:1] == ["source"])
    assert [line.split() for line in lines[start : start + 3]] == [
        ["source", A, B],
        [A, "50.0", "15.0", "/", "20.0"],
        [B, "0.0", "/", "0.0", "15.0"],
    ]
    assert max(map(len, lines)) <= 80


def test_what_failed_says_so_in_its_place(tmp_path: Path) -> None:
    run = build_run(tmp_path, [*CELLS[:4], replace(A_ON_B, status="error", reason="no luck", rows=()), B_ON_A])
    bench.leaderboard.write(run)
    markdown = (run.path / "leaderboard.md").read_text()
    assert "- model-a on model_b: error: no luck" in markdown
    line = pd.read_csv(run.path / "transfer.csv").set_index(["source", "model"]).loc[A, B]
    assert (line["status"], line["reason"]) == ("error", "no luck")
    assert pd.isna(line["success"])
    assert "model-a on model_b: error: no luck" in bench.leaderboard.text(run)
    (table,) = make(run).tables
    assert next(row for row in table.rows if row.model == B).rank is None


def test_a_note_says_what_no_column_shows(run: RunDirectory) -> None:
    (table,) = make(run).tables
    (note,) = (note for note in table.notes if note.rule == "transfer")
    assert (note.subject, note.severity) == (B, "info")
    assert (
        note.text == "1 image(s) broken by the examples of other models alone (model-a); they count in the worst case"
    )
    row = next(row for row in table.rows if row.model == B)
    assert row.worst is not None
    assert row.worst.value == 0.8


def test_a_defended_row_tells_other_models_from_its_own(tmp_path: Path) -> None:
    defended = [
        Planned(model=B, defense="jpeg", broken=range(2)),
        Planned(model=B, defense="jpeg", broken=range(3), role="oblivious", adversary="oblivious"),
        replace(A_ON_B, defense="jpeg"),
    ]
    run = build_run(tmp_path, [*CELLS, *defended])
    row = next(row for table in make(run).tables for row in table.rows if row.defense == "jpeg")
    assert {part: (one.count, one.alone) for part, one in row.broken.items()} == {
        "BPDA": (2, 0), "transfer": (3, 1), "other models": (3, 1),
    }  # fmt: skip
    bench.leaderboard.write(run)
    frame = pd.read_csv(run.path / "leaderboard.csv").set_index(["model", "defense"])
    assert frame.loc[(B, "jpeg"), "broken:other models"] == 3


def test_the_explanation_says_where_the_points_come_from(run: RunDirectory) -> None:
    text = " ".join(prose(explain(run, B), 200).split())
    assert "pgd-20 from model-a (transfer, the examples that were made against model-a" in text
    assert "It judged the examples of 20 images" in text
