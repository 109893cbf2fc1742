"""Markdown, CSV, LaTeX and terminal text say what the board says, and survive any name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from synthetic_run import Planned, build_run

import bench.leaderboard
from bench.errors import StoreError
from bench.leaderboard.latex import escape as latex_escape
from bench.leaderboard.latex import latex
from bench.leaderboard.markdown import escape as markdown_escape
from bench.leaderboard.markdown import markdown
from bench.leaderboard.table import make
from bench.store.run_directory import RunDirectory

ENTRY = ("cifar10", "Linf", "Wong2020Fast")
PLANNED = [
    Planned(model="Wong2020Fast", attack="fgsm", wrong=range(17), broken=range(17, 40), published=ENTRY),
    Planned(model="Wong2020Fast", attack="pgd-20", wrong=range(17), broken=range(17, 57), published=ENTRY),
    Planned(model="Wong2020Fast", attack="pgd-20", wrong=range(17), broken=range(17, 50), seed=1, published=ENTRY),
    Planned(model="my_model", attack="fgsm", wrong=range(8), broken=range(8, 90)),
    Planned(model="my_model", attack="pgd-20", status="error", reason="left the ball by 50% on a_b & c|d", rows=[]),
]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return build_run(tmp_path, PLANNED, n=100, note="a smoke test")


def test_files(run: RunDirectory) -> None:
    paths = bench.leaderboard.write(run)
    assert [path.name for path in paths] == [f"leaderboard.{kind}" for kind in ("md", "csv", "json", "tex")]
    assert all(path.parent == run.path and path.stat().st_size > 100 for path in paths)
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in bench.leaderboard.write(run)] == before


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def test_markdown(run: RunDirectory) -> None:
    lines = markdown(make(run)).splitlines()
    table = [line for line in lines if line.startswith("|")][:4]
    assert cells(table[0]) == [
        "rank", "model", "defense", "clean", "fgsm", "pgd-20", "worst case", "published", "difference",
    ]  # fmt: skip
    assert cells(table[2]) == [
        "**1**", "Wong2020Fast", "none", "83.0 (74.5–89.1)", "60.0 (50.2–69.1)",
        "43.0 (33.7–52.8) [43.0–50.0]", "**43.0 (33.7–52.8)**", "83.34 / 43.21", "-0.2",
    ]  # fmt: skip
    assert cells(table[3]) == [
        "–",
        "my_model",
        "none",
        "92.0 (85.0–95.9)",
        "10.0 (5.5–17.4)",
        "error",
        "≤ 10.0 ⚑1",
        "–",
        "–",
    ]
    assert "- ⚑1 my_model (pgd-20): error: left the ball by 50% on a_b & c\\|d \\[cell-error\\]" in lines
    assert "**Note:** a smoke test" in lines
    (heading,) = [line for line in lines if line.startswith("Linf 8/255 ·")]
    assert "CIFAR-10 test, 100 images" in heading
    assert "an upper bound; 95 % interval over images" in heading


def test_markdown_lists_every_cell(run: RunDirectory) -> None:
    text = markdown(make(run))
    rows = [cells(line) for line in text.split("## Cells")[1].splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(PLANNED)
    assert rows[-1][1:6] == ["my_model", "none", "pgd-20", "0", "error"]


def test_csv(run: RunDirectory) -> None:
    bench.leaderboard.write(run)
    frame = pd.read_csv(run.path / "leaderboard.csv").set_index("model")
    wong, mine = frame.loc["Wong2020Fast"], frame.loc["my_model"]
    assert (wong["rank_low"], wong["worst_case"], wong["clean"]) == (1, 0.43, 0.83)
    assert wong["worst_case:low"] == pytest.approx(0.3374, abs=1e-4)
    assert (wong["robust:pgd-20:seed_min"], wong["robust:pgd-20:seed_max"]) == (0.43, 0.5)
    assert wong["published_robust"] == 0.4321
    assert wong["difference"] == pytest.approx(-0.0021)
    assert (mine["worst_case"], bool(mine["worst_case_is_bound"]), mine["robust:pgd-20:status"]) == (0.1, True, "error")
    assert pd.isna(mine["rank_low"])
    assert pd.isna(mine["robust:pgd-20"])
    assert "left the ball" in mine["notes"]


def test_text_fits_and_never_cuts_a_number(run: RunDirectory) -> None:
    wide, medium, narrow = (bench.leaderboard.text(run, width) for width in (200, 100, 60))
    assert "60.0 (50.2–69.1)" in wide
    assert "60.0 (50.2–69.1)" not in medium
    for drawn, width in ((wide, 200), (medium, 100), (narrow, 60)):
        assert max(map(len, drawn.splitlines())) <= width
        for number in ("83.0", "60.0", "43.0 (33.7–52.8)", "92.0", "10.0", "83.34 / 43.21", "-0.2", "≤ 10.0 ⚑1"):
            assert number in drawn
        assert "Note: a smoke test" in drawn
    assert narrow.count("Wong2020Fast  none") > 1


def test_text_without_tables(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(role="prerequisite")])
    assert bench.leaderboard.text(run).strip() == ""
    bench.leaderboard.write(run)


def unescaped(text: str, char: str) -> list[str]:
    return re.findall(rf"(?<!\\){re.escape(char)}", text)


def balanced(text: str) -> bool:
    depth = 0
    for char in re.sub(r"\\[{}]", "", text):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def test_latex_is_well_formed(run: RunDirectory) -> None:
    text = latex(make(run))
    body = "\n".join(line for line in text.splitlines() if not line.startswith("% "))
    assert balanced(body)
    for begin, end in (("\\begin{table}", "\\end{table}"), ("\\begin{tabular}", "\\end{tabular}")):
        assert body.count(begin) == body.count(end) == 1
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert body.count(rule) == 1
    assert "my\\_model" in body
    assert "50\\% on a\\_b \\& c\\textbar{}d" in body
    assert "\\textbf{43.0 (33.7--52.8)}" in body
    assert "$\\leq$~10.0\\textsuperscript{1}" in body
    assert body.isascii()
    inside = body.split("\\midrule")[1].split("\\bottomrule")[0].strip()
    assert [len(unescaped(line, "&")) for line in inside.splitlines()] == [8, 8]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a_b & 5% of $x^2$ #1 {y} ~ \\z",
            r"a\_b \& 5\% of \$x\textasciicircum{}2\$ \#1 \{y\} \textasciitilde{} \textbackslash{}z",
        ),
        ("≤ 1 – 2 ε", r"$\leq$ 1 -- 2 $\varepsilon$"),
        ("Müller <x|y>", r"Müller \textless{}x\textbar{}y\textgreater{}"),
    ],
)
def test_latex_escapes(text: str, expected: str) -> None:
    assert latex_escape(text) == expected
    assert balanced(latex_escape(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a_b_c", "a_b_c"), ("_a_", r"\_a\_"), ("a|b*c<d>`e`", r"a\|b\*c\<d\>\`e\`"), ("日本", "日本")],
)
def test_markdown_escapes(text: str, expected: str) -> None:
    assert markdown_escape(text) == expected


def test_names_with_special_characters_everywhere(tmp_path: Path) -> None:
    planned = [
        Planned(model="a_b+c=d.e", attack="pgd-alpha=2_255", defense="jpeg-q_7.5"),
        Planned(
            model="b", attack="pgd-alpha=2_255", status="error", reason="Датасет “Ω” $\\frac{1}{0}$ 100% | *x*", rows=[]
        ),
    ]
    run = build_run(tmp_path, planned, dataset="cifar10")
    bench.leaderboard.write(run)
    text = (tmp_path / "leaderboard.tex").read_text(encoding="utf-8")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("% "))
    assert balanced(body)
    assert "a\\_b+c=d.e" in body
    assert not unescaped(re.sub(r"\$\\leq\$|\$-\$", "", body), "$")
    assert "Датасет" in (tmp_path / "leaderboard.md").read_text(encoding="utf-8")


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"run\.json"):
        bench.leaderboard.write(RunDirectory(tmp_path))


def test_no_torch_is_imported(run: RunDirectory) -> None:
    code = (
        "import json, sys, pathlib; import bench.leaderboard;"
        "from bench.store.run_directory import RunDirectory;"
        f"run = RunDirectory(pathlib.Path({str(run.path)!r}));"
        "bench.leaderboard.write(run); bench.leaderboard.text(run);"
        "print(json.dumps(sorted(set(sys.modules) & {'torch', 'torchvision', 'foolbox', 'art', 'robustbench', 'timm'})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
