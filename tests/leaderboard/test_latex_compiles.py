"""Everything that ``bench paper`` writes goes through a real pdfLaTeX: tox -e latex."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from paper_run import NASTY, defended_run, library_run, long_run, paper_run

from bench.leaderboard import side_by_side
from bench.leaderboard.compare import compare
from bench.leaderboard.latex import latex
from bench.leaderboard.paper import contents, write
from bench.leaderboard.paper.bibliography import Bibliography, literature
from bench.leaderboard.paper.naming import attack_names
from bench.leaderboard.paper.styles import STYLES, Choices
from bench.leaderboard.paper.texts import GLYPH, escape
from bench.leaderboard.table import make
from bench.plots import paper as figures
from bench.store import published
from bench.store.outcomes import read_outcomes

pytestmark = [
    pytest.mark.latex,
    pytest.mark.skipif(
        shutil.which("pdflatex") is None or shutil.which("bibtex") is None,
        reason="no pdflatex and bibtex here: .ci/latex installs Debian's",
    ),
]


def compiled(directory: Path, name: str = "tables", *, bibtex: bool = True) -> str:
    """The log of the last pass over a document; every error, missing citation or reference fails."""
    latex_command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", name]
    for command in (latex_command, ["bibtex", name], latex_command, latex_command):
        if command[0] == "bibtex" and not bibtex:
            continue
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace", timeout=300)
        assert done.returncode == 0, done.stdout[-3000:]
        if command[0] == "bibtex":
            undated = "robustbench-\\w+-\\w+-Standard"  # the leaderboard gives its plainly trained models no venue
            assert re.findall(rf"Warning--(?!empty year in {undated}).*", done.stdout) == []
    log = (directory / f"{name}.log").read_text(errors="replace")
    assert (directory / f"{name}.pdf").stat().st_size > 10_000
    assert not re.search(r"LaTeX Warning: (Citation|Reference|There were undefined|Label)", log), log
    assert "Missing character" not in log
    return log


def overfull(log: str) -> list[float]:
    """Points by which lines stand out."""
    return [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("width", ["one-column", "two-column"])
def test_a_paper_compiles(tmp_path: Path, style: str, width: str) -> None:
    run = paper_run(tmp_path / "run", several=True)
    outcome = read_outcomes(run)
    drawn = figures.draw(outcome, width, attack_names(outcome.record.suite.attacks))
    assert {"attacks-linf-8_255", "clean-vs-robust-linf-8_255", "accuracy-vs-eps-linf"} <= set(drawn)
    texts = contents(run, Choices(style=style), outcome, [(name, one.caption) for name, one in drawn.items()])
    write(tmp_path / "paper", texts)
    figures.write(tmp_path / "paper", drawn)
    assert max(overfull(compiled(tmp_path / "paper")), default=0.0) < 12
    assert (tmp_path / "paper" / "tables.bbl").read_text().count("\\bibitem") > 10


def test_long_names_of_attacks_shrink_no_table(tmp_path: Path) -> None:
    write(tmp_path, contents(library_run(tmp_path / "run"), Choices()))
    table = tmp_path / "table-l2-0.5.tex"
    table.write_text(
        table.read_text().replace(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}", r"\mbox")
    )
    assert overfull(compiled(tmp_path)) == []


def test_a_table_alone_needs_three_packages(tmp_path: Path) -> None:
    write(tmp_path, contents(paper_run(tmp_path / "run"), Choices(intervals=False)))
    (tmp_path / "mine.tex").write_text(
        "\\documentclass[twocolumn]{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{mathptmx,array,booktabs,graphicx}\n"
        "\\begin{document}\nSee Table~\\ref{tab:synthetic}.\n\\input{table-linf-8_255}\n"
        "\\bibliographystyle{plain}\\bibliography{references}\n\\end{document}\n"
    )
    text = (tmp_path / "table-linf-8_255.tex").read_text().replace("tab:synthetic-linf-8-255", "tab:synthetic")
    (tmp_path / "table-linf-8_255.tex").write_text(text)
    compiled(tmp_path, "mine")


DOCUMENTS = {
    "one-column": "\\documentclass{article}\n\\usepackage[letterpaper]{geometry}",
    "11 pt": "\\documentclass[11pt]{article}",
    "two-column": "\\documentclass[twocolumn]{article}\n\\usepackage[letterpaper,width=6.875in,height=8.875in]{geometry}",
}


@pytest.fixture(scope="module", params=["attacks", "defense"])
def long(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    path = tmp_path_factory.mktemp("long")
    if request.param == "attacks":
        return contents(long_run(path, 40), Choices())
    return contents(defended_run(path, 10), Choices(style="defense", intervals=False))


@pytest.mark.parametrize("preamble", DOCUMENTS.values(), ids=DOCUMENTS)
def test_no_part_of_a_long_table_is_longer_than_a_page(tmp_path: Path, preamble: str, long: Mapping[str, str]) -> None:
    write(tmp_path, long)
    (tmp_path / "mine.tex").write_text(
        f"{preamble}\n\\usepackage[T1]{{fontenc}}\n\\usepackage{{mathptmx,courier,array,booktabs,graphicx,longtable}}\n"
        "\\begin{document}\nSee Table~\\ref{tab:synthetic-linf-8-255}.\n\\input{table-linf-8_255}\n"
        "\\appendix\\input{appendix}\n\\bibliographystyle{plain}\\bibliography{references}\n\\end{document}\n"
    )
    log = compiled(tmp_path, "mine")
    assert long["table-linf-8_255.tex"].count("(continued)") > 1
    assert "Float too large" not in log
    assert "\\newlabel{tab:synthetic-linf-8-255}{{1}" in (tmp_path / "mine.aux").read_text()


def test_the_whole_literature_and_all_published_models_compile(tmp_path: Path) -> None:
    cited = Bibliography()
    keys = list(cited.cite(*literature()))
    for entry in published.table().values():
        keys += cited.model("robustbench", (entry.dataset, entry.threat_model, entry.entry))
    (tmp_path / "references.bib").write_text(cited.text())
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{mathptmx,courier,url}\n\\usepackage[numbers]{natbib}\n"
        f"\\begin{{document}}\n\\sloppy\\cite{{{','.join(keys)}}}\n"
        "\\bibliographystyle{unsrtnat}\\bibliography{references}\n\\end{document}\n"
    )
    compiled(tmp_path, "all")


def test_every_character_compiles(tmp_path: Path) -> None:
    codes = [
        *range(0x20, 0x250),
        *range(0x370, 0x460),
        *range(0x2000, 0x2070),
        0x2200,
        0x4E00,
        0x1F600,
        0xE000,
        0x301,
        0x7,
    ]
    lines = [f"{code:04X} {escape(f'x{chr(code)}y {chr(code)}{chr(code)}')}\\par" for code in codes]
    cells = [f"{escape(char)} & {escape(NASTY)} \\\\" for char in ("[x]", "*", "-", "!`")]
    (tmp_path / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{mathptmx,courier,booktabs}\n"
        + GLYPH
        + "\n\\begin{document}\n"
        + "\n".join(lines)
        + "\n\\begin{tabular}{lp{3in}}\\toprule\n"
        + "\n".join(cells)
        + "\n\\bottomrule\\end{tabular}\n\\end{document}\n",
        encoding="utf-8",
    )
    compiled(tmp_path, "all", bibtex=False)


def test_a_comparison_compiles(tmp_path: Path) -> None:
    a, b = (paper_run(tmp_path / name / "run") for name in ("a&b_%$#{}~^ <b>ΩДß", "ü"))
    (tmp_path / "sides.tex").write_text(
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{mathptmx,booktabs,graphicx,textcomp}\n"
        f"\\begin{{document}}\n{side_by_side.latex(compare(a, b))}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    compiled(tmp_path, "sides", bibtex=False)


def test_the_leaderboard_compiles(tmp_path: Path) -> None:
    text = latex(make(paper_run(tmp_path / "run")))
    plain = re.sub(r"[^\x20-\u017e\n]", "?", text)  # its other scripts need LuaLaTeX
    (tmp_path / "board.tex").write_text(
        "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{mathptmx,booktabs,graphicx,textcomp}\n"
        f"\\begin{{document}}\n{plain}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    compiled(tmp_path, "board", bibtex=False)
