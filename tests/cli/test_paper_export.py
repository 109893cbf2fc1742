"""``bench paper`` and ``bench export`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paper_run import paper_run


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_run(tmp_path_factory.mktemp("papers") / "run").path


def test_paper_writes_beside_the_run(bench: object, papers: Path) -> None:
    ended = bench("paper", papers, "--style", "defense", "--plots", "one-column")  # type: ignore[operator]
    assert ended.code == 0, ended.err
    names = {Path(line).name for line in ended.out.splitlines()}
    assert names == {
        "table-linf-8_255.tex", "tables.tex", "appendix.tex", "appendix.md", "references.bib", "attacks-linf-8_255.pdf",
        "clean-vs-robust-linf-8_255.pdf",
    }  # fmt: skip
    assert {path.name for path in (papers / "paper").iterdir()} == names
    assert all(Path(line).is_file() for line in ended.out.splitlines())


def test_paper_takes_options(bench: object, papers: Path, tmp_path: Path) -> None:
    ended = bench(  # type: ignore[operator]
        "paper", papers, "--out", tmp_path, "--columns", "model,defense,clean,worst", "--no-intervals", "--caption", "Ours",
        "--label", "tab:x", "--plots", "none", "--page-rows", "2",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    text = (tmp_path / "table-linf-8_255.tex").read_text()
    assert "\\caption{Ours}\n\\label{tab:x}" in text
    assert text.count("& Clean & Worst case \\\\") == 2
    assert not list(tmp_path.glob("*.pdf"))


@pytest.mark.parametrize(
    ("words", "accepted"),
    [
        (("--columns", "clean,pdg-20"), "pgd-20"),
        (("--style", "ieee"), "attacks, robustbench, defense"),
        (("--plots", "wide"), "one-column, two-column, none"),
        (("--caption", "5%"), "\\%"),
    ],
)
def test_paper_names_what_it_accepts(
    bench: object, papers: Path, tmp_path: Path, words: tuple[str, str], accepted: str
) -> None:
    ended = bench("paper", papers, "--out", tmp_path / "out", *words)  # type: ignore[operator]
    assert ended.code == 2
    assert accepted in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "out").exists()


def test_export(bench: object, papers: Path, tmp_path: Path) -> None:
    words = ("export", papers, "--robustbench", "--allow-subset", "--out", tmp_path)
    ended = bench(*words, "--model", "Wong2020Fast", "--authors", "Eric Wong", "--no-additional-data")  # type: ignore[operator]
    assert ended.code == 0, ended.err
    entry = json.loads((tmp_path / "model_info/cifar10/Linf/Wong2020Fast.json").read_text())
    assert (entry["authors"], entry["autoattack_acc"], entry["eps"]) == ("Eric Wong", "44.00", "8/255")
    assert "the run can't know name; give --name" in ended.err
    ended = bench(*words)  # type: ignore[operator]
    assert ended.code == 2
    assert "my_model+2.0=x, Linf 8/255: not exported: AutoAttack is error" in ended.err
    assert (tmp_path / "model_info/cifar10/Linf/Engstrom2019Robustness.json").is_file()


def test_export_refuses(bench: object, papers: Path, tmp_path: Path) -> None:
    for words, reason in (
        ((), "--robustbench"),
        (("--robustbench",), "--allow-subset"),
        (("--robustbench", "--allow-subset", "--reported", "about 50"), "--reported: a number in %"),
        (("--robustbench", "--allow-subset", "--reported", "100.01"), "--reported: a number in %"),
    ):
        ended = bench("export", papers, "--out", tmp_path / "out", *words)  # type: ignore[operator]
        assert ended.code == 2
        assert reason in ended.err
        assert not (tmp_path / "out").exists()
