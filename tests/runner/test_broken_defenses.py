"""Defenses that only look robust: the naive number is high, the adaptive one isn't."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bench
from bench.leaderboard.records import Table
from bench.leaderboard.table import make
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

BROKEN = ("gradient_killer", "logit_temperature", "bit_depth-bits3")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("broken")
    path = folder / "suite.yaml"
    path.write_text(
        """
name: broken
dataset: {name: mnist, samples: 20}
threat_models: [{norm: linf, eps: 0.2}]
models: [zoo:mnist_standard]
attacks: [{name: pgd, steps: 20}]
defenses: [none, gradient_killer, logit_temperature, {name: bit_depth, bits: 3}, denoising_autoencoder]
adversaries: [naive, adaptive]
run: {save_adversarial: none, gradient_free_queries: 20}
"""
    )
    summary = run_suite(load_suite(path), RunSettings(folder / "results", device="cpu", places=Places(download=False)))
    assert {result.status for result in summary.results} == {"done"}
    (found,) = make(RunDirectory(summary.directory)).tables
    return found


@pytest.mark.parametrize("defense", BROKEN)
def test_what_withstands_the_naive_falls_to_whoever_knows_it(table: Table, defense: str) -> None:
    (row,) = [one for one in table.rows if one.defense == defense]
    assert row.clean is not None
    assert row.worst is not None
    assert row.naive is not None
    assert row.naive.robust is not None
    assert row.naive.robust.value == row.clean.value >= 0.9
    assert row.worst.value <= 0.1
    assert row.complete


def test_a_note_says_which_defense_helps(table: Table) -> None:
    helped = {
        row.defense
        for row in table.rows
        for note in table.notes
        if note.number in row.notes and "more images stay right than without the defense" in note.text
    }
    assert {name.partition("-")[0] for name in helped} == {"denoising_autoencoder"}


def test_the_worst_case_says_that_nobody_knew_the_defense() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(8, 1, 4, 4)
    y = model(x).argmax(1)
    found = bench.evaluate(model, x, y, "linf:0.1", ["fgsm"], defense="gradient_killer", adversary="naive")
    assert found.table["adversary"].tolist() == ["naive", "naive"]
    assert any("only a naive adversary" in line for line in found.flags)
