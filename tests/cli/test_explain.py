"""``bench explain`` on a real run of digits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.leaderboard.table import make
from bench.store.run_directory import RunDirectory


def test_a_real_run_is_explained(bench: object, finished: Path) -> None:
    ended = bench("explain", finished, "mnist_standard", "--defense", "bit_depth")  # type: ignore[operator]
    assert (ended.code, ended.err) == (0, "")
    text = " ".join(ended.out.split())
    (row,) = [row for row in make(RunDirectory(finished)).tables[0].rows if row.defense == "bit_depth"]
    assert row.worst is not None
    assert f"mnist_standard + bit_depth under Linf 0.2: robust accuracy {100 * (row.worst.value or 0):.1f} %" in text
    assert "MNIST test: the first 12 images; digest" in text
    assert "Note: digits of MNIST's training set" in text
    assert f"{row.correct} of 12 images are right" in text
    assert "BPDA with the stand-in that bit_depth brings" in text
    assert "pgd-3 (BPDA, steps 3, search first_success, seed 0, float32): broke " in text
    samples = pd.read_parquet(finished / "samples")
    pgd = samples[samples["cell"].str.contains("bit_depth-linf-0.2-pgd-3-adaptive")]
    assert f"pgd-3 (BPDA, steps 3, search first_success, seed 0, float32): broke {int(pgd['success'].sum())} of" in text
    assert f"with {pgd['forwards'].mean():.1f} forward and {pgd['backwards'].mean():.1f} backward passes" in text
    assert "square (gradient-free check, no gradient, n_queries 500," in text
    assert "a stronger one can only lower the number" in text
    assert max(map(len, (line for line in ended.out.splitlines() if "bench " not in line))) <= 120


def test_without_options_every_row_of_the_model(bench: object, finished: Path) -> None:
    ended = bench("explain", finished, "mnist_standard")  # type: ignore[operator]
    heads = [line for line in ended.out.splitlines() if " under Linf 0.2: robust accuracy" in line]
    assert [head.partition(" under")[0] for head in heads] == ["mnist_standard", "mnist_standard + bit_depth"]
    data = bench("explain", finished, "mnist_standard", "--threat-model", "linf:0.2", "--json")  # type: ignore[operator]
    rows = json.loads(data.out)["rows"]
    assert [row["numbers"]["defense"] for row in rows] == ["none", "bit_depth"]
    assert rows[0]["address"] == "linf:0.2"
    assert {cell["role"] for cell in rows[0]["cells"]} == {"suite", "prerequisite"}


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["mnist_pgd"], "unknown model 'mnist_pgd'; did you mean mnist_standard? (known: mnist_standard)"),
        (["mnist_standard", "--defense", "jpeg"], "(known: none, bit_depth)"),
        (["mnist_standard", "--threat-model", "linf:0.3"], "(known: linf:0.2)"),
    ],
)
def test_a_row_that_is_not_there(bench: object, finished: Path, words: list[str], seen: str) -> None:
    ended = bench("explain", finished, *words)  # type: ignore[operator]
    assert (ended.code, ended.out) == (2, "")
    assert seen in ended.err


def test_no_run(bench: object, tmp_path: Path) -> None:
    ended = bench("explain", tmp_path, "mnist_standard")  # type: ignore[operator]
    assert ended.code == 2
    assert "run.json" in ended.err


def test_explain_needs_no_torch(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch on this laptop')")
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "explain", str(finished), "mnist_standard"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "100"},
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert "What would make it stronger" in ended.stdout


@pytest.mark.usefixtures("no_plots")
def test_a_stochastic_defense_and_the_way_to_a_stronger_number(
    bench: object, suite: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = suite(models="zoo:mnist_pgd", attacks="{name: pgd, steps: 3}", defenses="{name: random_noise, std: 0.1}")
    path.write_text(path.read_text().replace("shard_size: 4", "shard_size: 4, eot_iter: 2, gradient_free_queries: 20"))
    assert bench("run", path.name, "--offline", "--set", "dataset.samples=6").code == 0  # type: ignore[operator]
    ended = bench("explain", "results/small", "mnist_pgd", "--defense", "random_noise-std0.1")  # type: ignore[operator]
    lines = [line.strip() for line in ended.out.splitlines()]
    text = " ".join(lines)
    assert "the exact gradient; each gradient averaged over 2 draws (EOT)." in text
    assert "Each image is scored by 50 fresh draws that no attack has seen" in text
    assert "⚑ eot (" in text
    assert "Few steps: the longest attack, pgd-3, takes 3; take at least 20" in text
    again = "bench run small.yaml --offline --set dataset.samples=6 --set "
    assert f"{again}attacks.pgd-3.steps=40" in lines
    assert f"{again}defenses.random_noise-std0.1.eot_iter=10" in lines
    assert "bench run small.yaml --offline --set dataset.samples=6 --set run.seeds='[0, 1, 2]'" in lines
    (stronger,) = [line for line in lines if line.endswith("attacks.pgd-3.steps=40")]
    assert bench(*stronger.replace("bench run", "validate").split()).code == 0  # type: ignore[operator]
