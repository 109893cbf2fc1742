"""What a paper gets: tables in the literature's words, an appendix, and nothing that a name could break."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paper_run import NASTY, defended_run, library_run, long_run, paper_run
from synthetic_run import Planned, build_run

from bench.errors import BenchError, UnknownNameError
from bench.leaderboard.paper import contents, write
from bench.leaderboard.paper.naming import attack_names, defense_names
from bench.leaderboard.paper.styles import STYLES, Choices
from bench.leaderboard.paper.texts import Cite, Code, escape, head_lines, stacked, to_latex, to_markdown
from bench.store.run_directory import RunDirectory
from bench.suites.spec import AttackSpec, DefenseSpec

TABLE = "table-linf-8_255.tex"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return paper_run(tmp_path_factory.mktemp("paper") / "run")


def table(run: RunDirectory, **choices: object) -> str:
    return contents(run, Choices(**choices))[TABLE]  # type: ignore[arg-type]


def rows(text: str) -> list[list[str]]:
    """The cells of every line between the rules, without those of intervals."""
    body = text.split("\\midrule", 1)[1].split("\\bottomrule")[0]
    lines = [line for line in body.splitlines() if " & " in line and "scriptsize" not in line]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", re.sub(r"\\\\(\[-1pt\])?$", "", line))] for line in lines]


def head(text: str) -> list[str]:
    line = text.split("\\toprule\n", 1)[1].split("\n")[0]
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix("\\\\"))]


def balanced(text: str) -> bool:
    depth = 0
    for char in re.sub(r"\\[{}\\]", "", text):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


def test_attacks_in_the_words_of_the_literature(run: RunDirectory) -> None:
    text = table(run)
    assert head(text) == [
        "Model", "Defense", "Clean", "FGSM", "PGD-20", "AutoAttack", "Gradient-free", "Oblivious", "Worst case",
    ]  # fmt: skip
    engstrom, wong, jpeg, mine = rows(text)
    assert engstrom[0] == "Engstrom2019Robustness~\\cite{robustbench-cifar10-Linf-Engstrom2019Robustness}"
    assert engstrom[2:6] == ["87.0", "60.0", "52.0", "49.0"]
    assert engstrom[-1].startswith("\\textbf{49.0}")
    assert jpeg[:2] == ["my\\_model+2.0=x", "JPEG (quality 75)~\\cite{dziugaite2016study}"]
    assert jpeg[6:8] == ["50.0", "60.0"]
    assert mine[5].startswith("\\textit{error}")
    assert wong[-1].startswith("44.0\\rlap{$^{\\dagger}$\\textsuperscript{")
    assert "{\\scriptsize [39.4, 58.7]}" in text


def test_rows_that_are_not_ranked_come_last_with_a_bound(run: RunDirectory) -> None:
    text = table(run)
    (last,) = [line for line in text.splitlines() if "\\llap{$\\leq$\\,}" in line]
    assert last.startswith("my\\_model+2.0=x & none")
    assert "\\phantom{0}\\llap{$\\leq$\\,}3.0" in last
    assert text.split(last)[0].rstrip().endswith("\\midrule")
    assert "such rows are not ranked" in text


def test_flags_are_footnotes(run: RunDirectory) -> None:
    text = table(run)
    notes = re.findall(r"\\raggedright \\textsuperscript\{(\w)\}\\,(.*?)\\par\}", text)
    assert [letter for letter, _ in notes] == [chr(97 + place) for place in range(len(notes))]
    assert any("gradients vanish" in note for _, note in notes)
    assert any(note.startswith("my\\_model+2.0=x (autoattack): error: 100\\% of \\$x") for _, note in notes)
    marked = set(re.findall(r"[a-z]", "".join(re.findall(r"\\rlap\{.*?textsuperscript\{([a-z,]+)\}", text))))
    assert marked == {letter for letter, _ in notes}


def test_robustbench_and_defense_styles(run: RunDirectory) -> None:
    text = table(run, style="robustbench")
    assert head(text) == [
        "Rank", "Model", "Defense", "Clean", "AutoAttack", "Worst case", "Published", "Difference", "Architecture", "Venue",
    ]  # fmt: skip
    (wong,) = [row for row in rows(text) if row[1].startswith("Wong")]
    assert wong[6:] == ["83.34 / 43.21", "$+0.8$", "PreActResNet-18", "ICLR 2020"]
    assert "cite{croce2021robustbench}" in text
    text = table(run, style="defense")
    assert head(text) == ["Model", "Defense", "Clean", "Oblivious", "Adaptive", "Worst case"]
    mine = rows(text)[-2:]
    assert [row[:2] for row in mine] == [
        ["my\\_model+2.0=x", "none"],
        ["", "JPEG (quality 75)~\\cite{dziugaite2016study}"],
    ]
    assert mine[1][3:5] == ["60.0", "25.0"]


def test_columns_and_intervals_are_chosen(run: RunDirectory) -> None:
    text = table(run, columns=("model", "Defense", "CLEAN", "pgd_20", "Worst Case"), intervals=False)
    assert head(text) == ["Model", "Defense", "Clean", "PGD-20", "Worst case"]
    assert "scriptsize" not in text
    assert "interval" not in text
    with pytest.raises(UnknownNameError, match=r"unknown column 'pgd-2000'; did you mean pgd-20.*known: rank, model"):
        table(run, columns=("pgd-2000",))


@pytest.mark.parametrize(
    ("columns", "lacking"),
    [(("model", "clean"), "defense"), (("defense", "clean"), "model"), (("clean", "rank"), "model and defense")],
)
def test_columns_that_leave_rows_without_a_name_are_refused(
    run: RunDirectory, columns: tuple[str, ...], lacking: str
) -> None:
    with pytest.raises(BenchError, match=rf"--columns {','.join(columns)}: rows .* \(accepted: with {lacking}\)"):
        table(run, columns=columns)


def test_bare_models_need_no_defense_and_one_model_no_name(tmp_path: Path) -> None:
    bare = build_run(tmp_path / "bare", [Planned(model="a"), Planned(model="b", broken=[1])])
    assert head(table(bare, columns=("model", "clean"))) == ["Model", "Clean"]
    one = build_run(tmp_path / "one", [Planned(), Planned(defense="jpeg-q75", broken=[1])])
    assert head(table(one, columns=("defense", "clean"))) == ["Defense", "Clean"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"style": "ieee"}, "known: attacks, robustbench, defense"),
        ({"label": "a b"}, "--label"),
        ({"caption": "50% of"}, r"write \\%"),
        ({"caption": "{a"}, "braces"),
        ({"caption": "a}{"}, "braces"),
        ({"caption": "a & b"}, r"write \\&"),
        ({"caption": "$x"}, r"odd number of \$"),
        ({"caption": "a\n\nb"}, "one paragraph"),
    ],
)
def test_choices_that_cannot_work(choices: dict[str, str], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        Choices(**choices).check()  # type: ignore[arg-type]


def test_caption_and_label(run: RunDirectory, tmp_path: Path) -> None:
    text = table(run, caption=r"Ours, 50\,\% \emph{better}", label="tab:ours")
    assert "\\caption{Ours, 50\\,\\% \\emph{better}}" in text
    assert "\\label{tab:ours}" in text
    assert "upper bounds" in text
    several = contents(paper_run(tmp_path, several=True), Choices(label="tab:ours"))
    assert "\\label{tab:ours-linf-2-255}" in several["table-linf-2_255.tex"]
    assert "\\input{table-linf-8_255}\n\\input{table-linf-2_255}" in several["tables.tex"]


def floats(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\*?\}.*?\\end\{table\*?\}", text, re.S)


def test_a_long_table_goes_on_in_another_float(tmp_path: Path) -> None:
    text = table(long_run(tmp_path, 60))
    first, *others = floats(text)
    assert len(others) >= 2
    assert [row[0].replace("\\allowbreak{}", "")[:9] for one in (first, *others) for row in rows(one)] == [
        f"model\\_{place:02d}" for place in range(60)
    ]
    assert text.count("\\label") == first.count("\\label") == 1
    assert "upper bounds" in first
    for one in others:
        assert "\\addtocounter{table}{-1}\\fi\n\\caption[]{(continued) $\\ell_\\infty$" in one
        assert head(one) == head(others[0])
    for one in (first, *others):
        marked = {
            letter
            for marks in re.findall(
                r"\}\\rlap\{.*?textsuperscript\{([a-z,]+)\}|\d\\rlap\{\\textsuperscript\{([a-z,]+)\}", one
            )
            for found in marks
            if found
            for letter in found.split(",")
        }
        assert marked == set(re.findall(r"\\raggedright \\textsuperscript\{(\w+)\}", one))
        assert marked
    assert len(floats(table(long_run(tmp_path / "short", 8)))) == 1


def test_a_group_that_goes_on_names_its_model_again(tmp_path: Path) -> None:
    text = table(defended_run(tmp_path, 6), style="defense", page_rows=6)
    assert [[row[0] for row in rows(one)] for one in floats(text)] == [
        ["model\\_00", "", "", "", "model\\_01", ""],
        ["model\\_01", "", "model\\_02", "", "", ""],
        ["model\\_03", "", "", "", "model\\_04", ""],
        ["model\\_04", "", "model\\_05", "", "", ""],
    ]


@pytest.mark.parametrize("style", STYLES)
def test_every_file_is_well_formed(run: RunDirectory, style: str) -> None:
    for name, text in contents(run, Choices(style=style)).items():
        if name.endswith(".tex"):
            body = "\n".join(line for line in text.splitlines() if not line.startswith("% "))
            assert balanced(body)
            assert not re.search(r"(?<!\\)[#](?![12])", body)
            assert "\\end{table} " not in body
            for begin, end in zip(
                re.findall(r"\\begin\{(\w+\*?)\}", body), re.findall(r"\\end\{(\w+\*?)\}", body), strict=False
            ):
                assert body.count(f"\\begin{{{begin}}}") == body.count(f"\\end{{{begin}}}"), end


def test_the_appendix_says_what_the_numbers_hang_on(run: RunDirectory) -> None:
    texts = contents(run, Choices())
    for text in (texts["appendix.tex"], texts["appendix.md"]):
        for said in (
            "8/255",
            "positions 0–99",
            "Wilson",
            "bench run synthetic.yaml",
            "was not audited",
            "quality",
            "oblivious",
        ):
            assert said.replace("–", "--" if text is texts["appendix.tex"] else "–") in text
    assert "exact | decimal |" in texts["appendix.md"]
    assert "| Linf | 8/255 | 8/255 | 0.03137254902 |" in texts["appendix.md"]


def test_the_appendix_of_a_real_record(tmp_path: Path) -> None:
    run = paper_run(tmp_path)
    record = json.loads((run.path / "run.json").read_text())
    record["dataset"]["digest"] = "ab" * 32
    record["environment"] = {"device": "NVIDIA H100", "versions": {"torch": "2.13.0"}, "python": "3.11.7"}
    (run.path / "run.json").write_text(json.dumps(record))
    text = contents(run, Choices())["appendix.md"]
    assert f"`{'ab' * 32}`" in text
    assert "NVIDIA H100" in text
    assert "torch 2.13.0" in text


def test_attacks_of_libraries(tmp_path: Path) -> None:
    texts = contents(library_run(tmp_path), Choices())
    assert head(texts["table-l2-0.5.tex"])[2:6] == [
        "foolbox.PGD-40",
        "\\begin{tabular}[b]{@{}c@{}}foolbox.\\\\L2ClippingAware\\\\RepeatedAdditive\\\\GaussianNoise\\\\Attack\\end{tabular}",
        "\\begin{tabular}[b]{@{}c@{}}foolbox.\\\\L2Momentum\\\\IterativeFast\\\\GradientMethod-10\\end{tabular}",
        "art.HopSkipJump",
    ]
    attacks = [line for line in texts["appendix.md"].splitlines() if "implementation:" in line]
    pgd, noise, _, hop = (line.partition(", search")[0] for line in attacks)
    assert pgd == (
        "- **foolbox.PGD-40**: `foolbox.PGD-40` [@madry2018towards; @rauber2017foolbox; @rauber2020foolbox], another name for "
        "`foolbox.LinfProjectedGradientDescentAttack`, implementation: foolbox (foolbox 3.3.4)"
    )
    assert noise.endswith(
        "[@rauber2020fast; @rauber2017foolbox; @rauber2020foolbox], implementation: foolbox (foolbox 3.3.4)"
    )
    assert hop.endswith(
        "[@chen2020hopskipjumpattack; @nicolae2018adversarial], implementation: art (adversarial-robustness-toolbox 1.20.1)"
    )
    assert {"chen2020hopskipjumpattack", "rauber2020fast", "nicolae2018adversarial"} <= set(
        re.findall(r"^@\w+\{([^,]+),", texts["references.bib"], re.M)
    )


def test_long_heads_have_several_lines() -> None:
    assert stacked("AutoAttack (custom)") == "AutoAttack (custom)"
    assert stacked("a_long_name_of_an_attack") == (
        r"\begin{tabular}[b]{@{}c@{}}a\_long\_name\_of\_an\_\\attack\end{tabular}"
    )
    assert head_lines("PGD-20 (Foolbox, alpha0.01)") == ["PGD-20 (Foolbox,", "alpha0.01)"]
    assert head_lines("foolbox.LinfMomentumIterativeFastGradientMethod-10") == [
        "foolbox.", "LinfMomentum", "IterativeFast", "GradientMethod-10",
    ]  # fmt: skip
    assert head_lines("x" * 40) == ["x" * 40]


def test_texts() -> None:
    assert escape("a--b [c] *d*") == r"a-{}-b {[}c{]} {*}d{*}"
    assert escape("Ωд") == r"\benchglyph{Ω}{U+03A9}\benchglyph{д}{U+0434}"
    assert escape("é ≤ –") == r"é $\leq$ --"
    assert escape("a\n\n b\ue000") == r"a b\texttt{U+E000}"
    assert balanced(escape(NASTY))
    text = ("see ", Code("a_b"), Cite(("x", "y")), ", 5 %.")
    assert to_latex(text) == r"see \texttt{a\_b}~\cite{x,y}, 5 \%."
    assert to_markdown(text) == "see `a_b` [@x; @y], 5 %."
    assert to_latex((Code("x" * 40),)).count("allowbreak") == 2


def test_long_names_may_break_after_punctuation() -> None:
    assert to_latex(("a_b-c+d=e.f",)) == r"a\_b-c+d=e.f"
    assert to_latex(("long_name--of+a_model",)) == (
        r"long\_\allowbreak{}name-{}-\allowbreak{}of+\allowbreak{}a\_\allowbreak{}model"
    )


def test_names_of_attacks_and_defenses() -> None:
    attacks = [
        AttackSpec(id="pgd-20", name="pgd", args={"steps": 20}),
        AttackSpec(id="pgd-50-restarts10", name="pgd", args={"steps": 50, "restarts": 10}),
        AttackSpec(id="cw-20", name="cw", args={"steps": 20}),
        AttackSpec(id="apgd-100", name="apgd", args={"loss": "dlr"}),
        AttackSpec(id="mine", name="pgd"),
        AttackSpec(id="plugin", name="no_such_attack"),
        AttackSpec(id="autoattack", name="autoattack", args={"version": "plus"}),
    ]
    assert attack_names(attacks) == {
        "pgd-20": "PGD-20", "pgd-50-restarts10": "PGD-50×10", "cw-20": "C&W-20", "apgd-100": "APGD-DLR",
        "mine": "mine", "plugin": "plugin", "autoattack": "AutoAttack+",
    }  # fmt: skip
    twins = [AttackSpec(id="fgsm", name="fgsm"), AttackSpec(id="fgsm-losSmargin".lower(), name="fgsm")]
    assert attack_names(twins) == {"fgsm": "FGSM", "fgsm-lossmargin": "FGSM (lossmargin)"}
    defenses = [
        DefenseSpec(name="none"),
        DefenseSpec(id="bit_depth-bits2", name="bit_depth", args={"bits": 2}),
        DefenseSpec(id="ours", name="jpeg"),
    ]
    assert defense_names(defenses) == {"none": "none", "bit_depth-bits2": "Bit depth (bits 2)", "ours": "ours"}


def test_the_same_records_give_the_same_files(run: RunDirectory, tmp_path: Path) -> None:
    first = contents(run, Choices())
    assert contents(run, Choices()) == first
    paths = write(tmp_path, {**first, "table-old.tex": ""})
    assert all(path.is_file() for path in paths)
    write(tmp_path, first)
    assert not (tmp_path / "table-old.tex").exists()


def test_no_torch_is_imported(run: RunDirectory) -> None:
    code = (
        "import json, sys, pathlib; from bench.leaderboard.paper import contents;"
        "from bench.leaderboard.paper.styles import Choices; from bench.store.run_directory import RunDirectory;"
        f"contents(RunDirectory(pathlib.Path({str(run.path)!r})), Choices());"
        "print(json.dumps(sorted(set(sys.modules) & {'torch', 'torchvision', 'foolbox', 'art', 'robustbench', 'timm'})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
