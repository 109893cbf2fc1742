"""``bench verify``: what it prints, writes and exits with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.models.zoo.cards import cards
from bench.stats import wilson
from bench.store.run_directory import RunDirectory

HERE = ("--device", "cpu", "--offline")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A finished run that may be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_sound_run_is_0(bench: Any, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    ended = bench("verify", finished, *HERE)
    assert ended.code == 0, ended.err
    cells = RunDirectory(finished).read_cells()
    table, last = ended.out.splitlines()[2 : 2 + len(cells)], ended.out.splitlines()[-1]
    for line, cell in zip(table, cells, strict=True):
        rows = RunDirectory(finished).read_samples(cell.cell)
        assert line.startswith(f"{cell.model.id}{'' if cell.defense.name == 'none' else ' + bit_depth'} | Linf 0.2 | ")
        broken = int(rows["success"].sum())
        whole = cell.search == "strongest"
        assert line.split(" done ")[1].split()[:3] == ["12", str(12 if whole else broken), str(broken)]
    assert last.startswith("verified: ")
    assert f" of {len(cells)} cells and all rows, metrics and ids agree" in last
    assert "stays an upper bound" in last
    assert "problem" not in ended.out
    assert f"[{len(cells)}/{len(cells)}] " in ended.err
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_any_problem_is_6_and_all_are_listed(bench: Any, copy: Path) -> None:
    one, other = RunDirectory(copy).read_run().cells[:2]
    record = copy / "cells" / f"{one}.json"
    value = json.loads(record.read_text())
    value["metrics"]["robust_accuracy"]["value"] = 0.75
    record.write_text(json.dumps(value))
    part = RunDirectory(copy).sample_parts(other)[1]
    part.write_bytes(part.read_bytes()[:-9])
    ended = bench("verify", copy, *HERE)
    assert ended.code == 6
    listed = ended.out[ended.out.index("\nproblems:") :]
    assert f"  {one}\n    metrics: cells/{one}.json: robust_accuracy is 0.75, the rows give " in listed
    assert f"    seal: samples/{part.name} has the digest " in listed
    assert f"    unreadable: {part}: damaged" in listed
    assert "    row: no row of a sample that run.json asks for (4 samples, first mnist5k/test/00004)" in listed
    assert listed.splitlines()[-1].startswith("not verified: 4 problems; ")
    assert "\nverified" not in ended.out


def test_json(bench: Any, finished: Path, copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    ended = bench("verify", finished, "--json", target, *HERE)
    assert ended.code == 0
    value = json.loads(target.read_text())
    assert (value["sound"], value["problems"], value["directory"]) == (True, [], str(finished))
    assert [cell["cell"] for cell in value["cells"]] == list(RunDirectory(finished).read_run().cells)
    assert value["examples"] == sum(cell["examples"] for cell in value["cells"])
    for cell in value["cells"]:
        assert cell["rounded_rate"] == (cell["rounded"] / cell["successes"] if cell["successes"] else None)
    cell = value["cells"][0]["cell"]
    (copy / "cells" / f"{cell}.json").write_text("no json")
    ended = bench("verify", copy, "--json", "-", *HERE)
    assert ended.code == 6
    (problem,) = json.loads(ended.out)["problems"]
    assert (problem["kind"], problem["cell"], problem["count"]) == ("unreadable", cell, 1)
    assert f"{cell}.json: damaged" in problem["message"]
    inside = bench("verify", copy, "--json", copy / "found.json", *HERE)
    assert (inside.code, "nothing is written" in inside.err) == (2, True)


def test_what_is_no_run_is_2(bench: Any, finished: Path, tmp_path: Path) -> None:
    ended = bench("verify", tmp_path, *HERE)
    assert (ended.code, "no run.json here" in ended.err) == (2, True)
    ended = bench("verify", finished, "--device", "cuda:99")
    assert (ended.code, "--device" in ended.err) == (2, True)
    ended = bench("verify", finished, "--model", "mnist_standard", *HERE)
    assert (ended.code, "accepted: with --against" in ended.err) == (2, True)


def test_plugins_need_permission(bench: Any, tmp_path: Path) -> None:
    """Without it the rest is checked, and the list says what is missing."""
    plugin = tmp_path / "mine.py"
    plugin.write_text("DATASETS = {'of_a_plugin_for_verify': lambda: None}\n")
    path = tmp_path / "small.yaml"
    path.write_text(
        f"name: small\nplugins: [{plugin}]\ndataset: {{name: mnist, samples: 4}}\n"
        "threat_models: ['linf:0.2']\nmodels: ['zoo:mnist_standard']\nattacks: [fgsm]\n"
    )
    assert bench("run", path, "--results", tmp_path / "results", "--allow-plugins", *HERE).code == 0
    ended = bench("verify", tmp_path / "results" / "small", *HERE)
    assert (ended.code, "--allow-plugins" in ended.out) == (6, True)
    assert "not-verifiable: run.json: its suite can't be had here" in ended.out
    assert bench("verify", tmp_path / "results" / "small", "--allow-plugins", *HERE).code == 0


def test_against_another_model(bench: Any, finished: Path, tmp_path: Path) -> None:
    by_name = bench("verify", finished, "--against", "zoo:mnist_pgd", *HERE)
    assert by_name.code == 0, by_name.err
    assert by_name.out.startswith("saved examples of the bare rows, on zoo:mnist_pgd (weights ")
    weights = Path(shutil.copy(cards()["mnist_pgd"].path, tmp_path / "other.safetensors"))
    by_path = bench("verify", finished, "--against", weights, "--json", tmp_path / "found.json", *HERE)
    assert by_path.code == 0, by_path.err
    assert by_path.out.splitlines()[1:] == by_name.out.splitlines()[1:]
    assert f"on mnist_standard with the weights of {weights} (weights " in by_path.out
    value = json.loads((tmp_path / "found.json").read_text())
    assert value["digest"] == cards()["mnist_pgd"].weights_sha256
    lines = by_path.out.splitlines()[3:]
    for line, row in zip(lines, value["rows"], strict=False):
        low, high = wilson(row["misclassified"], row["clean_correct"])
        rate = 100 * row["misclassified"] / row["clean_correct"]
        assert line.endswith(f"{rate:.1f} ({100 * low:.1f}–{100 * high:.1f})")
        assert f" {row['replayed']}{'*' if row['successes_only'] else ''} " in line
    only = [row["successes_only"] for row in value["rows"]]
    assert sorted(only) == [
        False,
        False,
        True,
        True,
    ]  # the suite's two attacks, and the examples for the oblivious adversary
    assert "* only successes were saved" in by_path.out


def test_against_what_cant_be(bench: Any, finished: Path, tmp_path: Path) -> None:
    for words, said in (
        (("nowhere.pt",), "nowhere.pt: no such file of weights"),
        (("zoo:mnist_nothing",), "mnist_nothing"),
        (("zoo:pyautoattack_resnet18",), "is for images of shape"),
        (("zoo:mnist_pgd", "--model", "mnist_standard"), "--model and --key beside a file of weights"),
        ((cards()["mnist_pgd"].path, "--model", "other"), "the run has no model 'other' (accepted: mnist_standard)"),
        ((cards()["mnist_denoiser"].path,), "missing"),
    ):
        ended = bench("verify", finished, "--against", *words, *HERE)
        assert (ended.code, said in ended.err) == (2, True), ended.err


def test_the_run_with_several_models_is_asked_which(bench: Any, suite: Any, tmp_path: Path) -> None:
    path = suite(models="zoo:mnist_standard, zoo:mnist_pgd", eps="0.45")
    assert bench("run", path, "--results", tmp_path / "results", *HERE).code == 0
    weights = cards()["mnist_pgd"].path
    ended = bench("verify", tmp_path / "results" / "small", "--against", weights, *HERE)
    assert (ended.code, "which model of the run are the weights for?" in ended.err) == (2, True)
    ended = bench("verify", tmp_path / "results" / "small", "--against", weights, "--model", "mnist_standard", *HERE)
    assert ended.code == 0
    rates = {line.split()[0]: line for line in ended.out.splitlines()[3:5]}
    assert set(rates) == {"mnist_standard", "mnist_pgd"}
    assert "100.0 (" in rates["mnist_pgd"]  # its own examples
