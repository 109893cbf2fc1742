"""``bench compare``, ``bench gate`` and ``bench history`` on real runs of digits, and the nightly jobs of the docs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import yaml
from corrupted_run import N as CORRUPTED
from corrupted_run import build, right
from synthetic_run import Planned, build_run

from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def again(finished: Path) -> Path:
    """The same suite once more, with other batches."""
    settings = RunSettings(finished.parents[1], run="again", device="cpu", batch_size=5, places=Places(download=False))
    return run_suite(load_suite(finished.parents[2] / "small.yaml"), settings).directory


@pytest.fixture
def runs(finished: Path, again: Path, tmp_path: Path) -> Path:
    """Both, in a directory that the test may change: results/small."""
    for run in (finished, again):
        shutil.copytree(run, tmp_path / "results" / "small" / run.name)
    return tmp_path / "results" / "small"


def test_the_same_suite_twice_is_no_difference(bench: object, runs: Path) -> None:
    ended = bench("compare", runs / "default", runs / "again", "--format", "json")  # type: ignore[operator]
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(ended.out)
    assert [pair["a"] for pair in found["pairs"]] == ["mnist_standard", "mnist_standard + bit_depth"]
    entries = [entry for pair in found["pairs"] for entry in pair["entries"]]
    assert {"clean", "fgsm", "pgd-3", "square (gradient-free)", "worst case"} <= {entry["name"] for entry in entries}
    assert {(entry["lost"] or entry["gained"]) == [] for entry in entries} == {True}
    assert {entry["adjusted"] for entry in entries} == {1.0}
    assert {entry["passes"] for entry in entries if entry["name"] == "pgd-3"} == {1.0}


@pytest.mark.parametrize("format", ["text", "md", "csv", "latex"])
def test_every_format_speaks_of_every_number(bench: object, runs: Path, format: str) -> None:
    ended = bench("compare", runs / "default", runs / "again", "--format", format)  # type: ignore[operator]
    assert ended.code == 0
    assert all(name in ended.out for name in ("clean", "fgsm", "pgd-3", "worst case"))


def test_rows_of_one_run(bench: object, runs: Path) -> None:
    words = ("compare", runs / "default", "--rows", "mnist_standard", "mnist_standard+bit_depth")
    ended = bench(*words)  # type: ignore[operator]
    assert ended.code == 0
    assert "A: mnist_standard, B: mnist_standard + bit_depth" in ended.out


def test_what_cannot_be_compared_says_why(bench: object, runs: Path, tmp_path: Path) -> None:
    build_run(tmp_path / "cifar", [Planned()])
    ended = bench("compare", runs / "default", tmp_path / "cifar")  # type: ignore[operator]
    assert ended.code == 2
    assert "another dataset: name mnist" in ended.err
    assert "cifar10" in ended.err
    ended = bench("compare", runs / "default", runs / "again", "--format", "html")  # type: ignore[operator]
    assert ended.code == 2
    assert "unknown format 'html' (known: text, md, csv, latex, json)" in ended.err
    ended = bench("compare", runs / "default", "--rows", "mnist_standard", "mnist_standard+jpeg")  # type: ignore[operator]
    assert ended.code == 2
    assert "unknown row 'mnist_standard+jpeg'" in ended.err


def test_a_gate_on_its_own_baseline(bench: object, runs: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "b.json"
    ended = bench("gate", runs / "default", "--baseline", baseline, "--update")  # type: ignore[operator]
    assert ended.code == 0, ended.err
    assert "2 rows, 9 cells, 12 images" in ended.out
    files = ("--junit", tmp_path / "j.xml", "--summary", tmp_path / "s.md", "--json", tmp_path / "g.json")
    ended = bench("gate", runs / "again", "--baseline", baseline, *files)  # type: ignore[operator]
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("gate passed: small: ")
    cases = ElementTree.parse(tmp_path / "j.xml").getroot().findall(".//testcase")
    result = json.loads((tmp_path / "g.json").read_text())
    assert len(cases) == len(result["checks"]) > 30
    assert result["passed"]
    assert "gate passed" in (tmp_path / "s.md").read_text()


def test_a_planted_regression_fails_the_gate(bench: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = build_run(tmp_path / "before", [Planned(broken=range(3)), Planned(attack="fgsm")], n=60).path
    now = build_run(tmp_path / "now", [Planned(broken=range(15)), Planned(attack="fgsm")], n=60).path
    baseline, page = tmp_path / "b.json", tmp_path / "page.md"
    assert bench("gate", before, "--baseline", baseline, "--update").code == 0  # type: ignore[operator]
    page.write_text("what stood there\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    junit = tmp_path / "j.xml"
    ended = bench("gate", now, "--baseline", baseline, "--junit", junit, "--summary", page)  # type: ignore[operator]
    assert ended.code == 7
    assert (
        "FAILED model-a | linf:8/255 | worst case: accuracy: 95.0 % before, 75.0 % now; 12 lost, 0 gained" in ended.out
    )
    assert page.read_text().startswith("what stood there\n## ")
    assert "worst case" in page.read_text()
    assert ElementTree.parse(junit).getroot().get("failures") == "2"
    assert bench("gate", now, "--baseline", baseline, "--margin", 20).code == 0  # type: ignore[operator]
    assert bench("gate", before, "--baseline", baseline, "--non-inferiority", 2).code == 7  # type: ignore[operator]
    ended = bench("gate", now, "--baseline", baseline, "--json", "-")  # type: ignore[operator]
    assert [check["number"] for check in json.loads(ended.out)["checks"] if not check["passed"]] == [
        "worst case",
        "pgd-20",
    ]


def test_what_cannot_be_looked_at_stands_in_every_file(bench: object, tmp_path: Path) -> None:
    run, baseline = build_run(tmp_path / "run", [Planned()]).path, tmp_path / "b.json"
    assert bench("gate", run, "--baseline", baseline, "--update").code == 0  # type: ignore[operator]
    names = {option: tmp_path / f"gate{option}" for option in ("--junit", "--summary", "--json")}
    files = [word for pair in names.items() for word in pair]
    assert bench("gate", run, "--baseline", baseline, *files).code == 0  # type: ignore[operator]
    ended = bench("gate", tmp_path / "<b>", "--baseline", baseline, *files)  # type: ignore[operator]
    assert ended.code == 2
    root = ElementTree.parse(names["--junit"]).getroot()
    assert (root.get("errors"), root.get("failures")) == ("1", "0")
    (error,) = root.findall(".//testcase/error")
    assert "no run.json here" in str(error.get("message"))
    assert r"could not look at" in names["--summary"].read_text()
    assert "<b>" not in names["--summary"].read_text()
    found = json.loads(names["--json"].read_text())
    assert (found["passed"], found["error"]) == (False, error.get("message"))
    baseline.write_text("")
    ended = bench("gate", run, "--baseline", baseline, "--json", "-")  # type: ignore[operator]
    assert ended.code == 2
    assert "b.json: damaged" in json.loads(ended.out)["error"]


def test_the_gate_and_the_history_of_corruptions_alone(bench: object, tmp_path: Path) -> None:
    kinds = [{"name": "fog", "severities": [1, 3]}]
    before = build(tmp_path / "small" / "before", kinds)
    now = build(tmp_path / "small" / "now", kinds, verdicts=lambda cell: right(cell) * (np.arange(CORRUPTED) > 20))
    baseline = tmp_path / "b.json"
    ended = bench("gate", before.path, "--baseline", baseline, "--update")  # type: ignore[operator]
    assert "1 row under common corruptions, 2 cells, 40 images" in ended.out
    assert bench("gate", before.path, "--baseline", baseline).code == 0  # type: ignore[operator]
    ended = bench("gate", now.path, "--baseline", baseline)  # type: ignore[operator]
    assert (ended.code, ended.out.splitlines()[1][:45]) == (7, "FAILED a | corruptions | corrupted: accuracy:")
    ended = bench("history", tmp_path / "small")  # type: ignore[operator]
    assert "small: corrupted in %, 2 nights" in ended.out
    assert (tmp_path / "small" / "history.png").stat().st_size > 1000


def test_a_result_outlives_files_that_cannot_be_written(bench: object, tmp_path: Path) -> None:
    before = build_run(tmp_path / "before", [Planned()], n=60).path
    now = build_run(tmp_path / "now", [Planned(broken=range(15))], n=60).path
    baseline, summary = tmp_path / "b.json", tmp_path / "s.md"
    assert bench("gate", before, "--baseline", baseline, "--update").code == 0  # type: ignore[operator]
    closed = baseline / "j.xml"  # a file is no directory
    ended = bench("gate", now, "--baseline", baseline, "--junit", closed, "--summary", summary)  # type: ignore[operator]
    assert ended.code == 5
    assert "j.xml: can't write" in ended.err
    assert ended.out.startswith("gate failed: ")
    assert "gate failed" in summary.read_text()


def test_an_incomplete_run_is_no_baseline(bench: object, tmp_path: Path) -> None:
    planned = [Planned(), Planned(attack="fgsm", status="error", reason="x", rows=[])]
    run, baseline = build_run(tmp_path / "run", planned).path, tmp_path / "b.json"
    ended = bench("gate", run, "--baseline", baseline, "--update")  # type: ignore[operator]
    assert ended.code == 2
    assert "model-a under linf:8/255 (fgsm: error)" in ended.err
    assert not baseline.exists()
    assert bench("gate", run, "--baseline", baseline, "--update", "--allow-incomplete").code == 0  # type: ignore[operator]
    assert bench("gate", run, "--baseline", baseline).code == 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--cost", "money"), "unknown cost 'money'"),
        (("--flags", "all"), "unknown severity 'all'"),
        (("--allow-incomplete",), "accepted: with --update"),
        ((), "can't read the baseline"),
    ],
)
def test_options_that_cannot_work(bench: object, tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    run = build_run(tmp_path / "run", [Planned()]).path
    ended = bench("gate", run, "--baseline", tmp_path / "none.json", *more)  # type: ignore[operator]
    assert ended.code == 2
    assert said in ended.err


def test_the_history_of_real_runs(bench: object, runs: Path, tmp_path: Path) -> None:
    ended = bench("history", runs, "--number", "clean")  # type: ignore[operator]
    assert ended.code == 0, ended.err
    assert re.search(r"^default +\d", ended.out, re.M)
    assert (runs / "history.png").is_file()
    assert (runs / "history.pdf").is_file()
    ended = bench("history", runs, "--format", "json", "--out", tmp_path / "plots")  # type: ignore[operator]
    assert {point["change"] for point in json.loads(ended.out)["points"]} == {""}
    assert "history.pdf" in ended.err
    assert (tmp_path / "plots" / "history.png").is_file()


def test_none_of_it_needs_torch(runs: Path, tmp_path: Path) -> None:
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "torch.py").write_text("raise ImportError('no torch on this laptop')")
    baseline = str(tmp_path / "b.json")
    for words in (
        ["compare", "default", "again"],
        ["gate", "default", "--baseline", baseline, "--update"],
        ["gate", "again", "--baseline", baseline],
        ["history", "."],
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            cwd=runs, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(fake)}, timeout=300,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr


# -- what the docs tell people to run every night ----------------------------------------------------------------------


def block(language: str, start: str) -> str:
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", DOCS, re.S) if text.startswith(start))


@pytest.fixture
def place(runs: Path, tmp_path: Path) -> dict[str, str]:
    """A checkout with a small suite and its baseline, and the environment that the nightly job has there."""
    suite = tmp_path / "small.yaml"
    suite.write_text(
        "name: small\ndataset: {name: mnist, samples: 12}\nthreat_models: [{norm: linf, eps: 0.2}]\n"
        "models: [zoo:mnist_standard]\nattacks: [fgsm]\n"
        "run: {shard_size: 4}\naudit: {samples: 0}\n"
    )
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "bench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bench "$@"\n')
    (bin / "bench").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{bin}:{os.environ['PATH']}",
        "SUITE": "small.yaml",
        "RUNS": "results/small",
        "BASELINE": "baseline.json",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }


def shell(command: str, cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-e", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600
    )


def test_the_workflow_of_the_docs(tmp_path: Path, place: dict[str, str]) -> None:
    workflow = yaml.safe_load(block("yaml", "name: nightly"))
    assert set(workflow["env"]) == {"SUITE", "RUNS", "BASELINE"}
    assert (ROOT / workflow["env"]["SUITE"]).is_file()
    assert (ROOT / workflow["env"]["BASELINE"]).is_file()
    (job,) = workflow["jobs"].values()
    evaluate, gate = [step["run"] for step in job["steps"] if str(step.get("run", "")).startswith("bench ")]
    ended = shell(evaluate, tmp_path, place)
    assert ended.returncode == 0, ended.stderr
    update = shell('bench gate "$RUNS/nightly" --baseline "$BASELINE" --update', tmp_path, place)
    assert update.returncode == 0, update.stderr
    ended = shell(gate, tmp_path, place)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    assert "gate passed" in (tmp_path / "summary.md").read_text()
    assert (tmp_path / "gate.xml").is_file()
    baseline = json.loads((tmp_path / "baseline.json").read_text())
    for row in baseline["rows"]:
        row["worst"] = {"accuracy": 1.0, "correct": 12.0, "bits": "fff0"}  # nothing was broken then
    (tmp_path / "baseline.json").write_text(json.dumps(baseline))
    assert shell(gate, tmp_path, place).returncode == 7
    (tmp_path / "nightly.sh").write_text(block("sh", "#!/bin/sh"))
    ended = shell("sh nightly.sh", tmp_path, place)
    assert ended.returncode == 7
    assert "small: worst case in %, 4 nights" in ended.stdout  # default, again, nightly, and today's


def test_the_example_of_tox_is_the_real_one() -> None:
    shown = [
        line.strip() for line in block("ini", "[testenv:quickstart]").splitlines() if " bench " in f" {line.strip()} "
    ]
    real = (ROOT / "tox.ini").read_text(encoding="utf-8")
    assert len(shown) >= 2
    assert all(line in real for line in shown)
