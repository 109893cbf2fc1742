"""Minimal distances of real runs: what a minimum-norm attack found beyond eps, and what is no such number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bench.leaderboard
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.store.records import CellResult, Estimate
from bench.suites.load import load_suite
from bench.suites.places import Places

ATTACKS = "{name: deepfool, search: strongest}, {name: deepfool, id: stops}, fgsm"


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    path = tmp_path_factory.mktemp("minimal") / "minimal.yaml"
    path.write_text(
        "name: minimal\ndataset: {name: mnist, samples: 30}\nthreat_models: [{norm: linf, eps: [0.04, 0.08]}]\n"
        f"models: ['zoo:mnist_standard']\nattacks: [{ATTACKS}]\ndefenses: [none, {{name: bit_depth, bits: 4}}]\n"
        "run: {shard_size: 16, gradient_free_queries: 0}\n"
    )
    return run_suite(
        load_suite(path), RunSettings(results=path.parent / "results", device="cpu", places=Places(download=False))
    )


@pytest.fixture(scope="module")
def cells(summary: RunSummary) -> Callable[..., tuple[CellResult, pd.DataFrame]]:
    frame = pd.read_parquet(summary.directory / "samples").sort_values("position")

    def find(
        attack: str, eps: float, defense: str = "none", adversary: str = "adaptive"
    ) -> tuple[CellResult, pd.DataFrame]:
        wanted = (attack, eps, defense, adversary)
        (result,) = (
            one
            for one in summary.results
            if (one.attack_id, float(one.threat_model.eps), one.defense.name, one.adversary) == wanted
            and one.role != "prerequisite"
        )
        assert result.status == "done", result.reason
        return result, frame[frame["cell"] == result.cell]

    return find


def test_one_run_gives_the_robust_accuracy_at_every_eps(cells: Callable[..., tuple[CellResult, pd.DataFrame]]) -> None:
    for defense in ("none", "bit_depth"):
        found = {eps: cells("deepfool-50", eps, defense) for eps in (0.04, 0.08)}
        for eps, (result, rows) in found.items():
            distance = rows["minimal_distance"].to_numpy()
            assert ((distance <= eps) == ~rows["robust"]).all()
            assert (distance[~rows["clean_correct"].to_numpy()] == 0).all()
            assert (distance[rows["clean_correct"].to_numpy()] > 0).all()
            assert result.metrics["median_minimal_distance"].value == np.median(distance[rows["clean_correct"]])
        _, wide = found[0.08]
        _, narrow = found[0.04]
        assert ((wide["minimal_distance"].to_numpy() > 0.04) == narrow["robust"].to_numpy()).all()
        assert (narrow["minimal_distance"] > 0.04).sum() >= 5, "there are samples to find beyond eps"
        assert np.isfinite(narrow["minimal_distance"]).mean() > 0.9


def test_what_stopped_early_or_looks_at_one_eps_has_no_median(
    cells: Callable[..., tuple[CellResult, pd.DataFrame]],
) -> None:
    stopped, rows = cells("stops", 0.08)
    assert stopped.metrics["median_minimal_distance"] == Estimate(value=None, n=0)
    assert rows["minimal_distance"].notna().all()
    _, whole = cells("deepfool-50", 0.08)
    assert (rows["minimal_distance"].to_numpy() >= whole["minimal_distance"].to_numpy() - 1e-6).all()
    for attack, defense, adversary in (("fgsm", "none", "adaptive"), ("deepfool-50", "bit_depth", "oblivious")):
        result, rows = cells(attack, 0.08, defense, adversary)
        assert result.metrics["median_minimal_distance"] == Estimate(value=None, n=0)
        assert rows["minimal_distance"].isna().all()


def test_what_was_broken_at_no_distance_is_the_attacks_failure(tmp_path: Path) -> None:
    """FMN's margin has no gradient on part of the robust network's digits."""
    path = tmp_path / "lost.yaml"
    path.write_text(
        "name: lost\ndataset: {name: mnist, samples: 20}\nthreat_models: [l2:1]\nmodels: [zoo:mnist_pgd]\n"
        "attacks: [{name: fmn, steps: 20, search: strongest}, {name: ddn, steps: 100, search: strongest}]\n"
    )
    summary = run_suite(
        load_suite(path), RunSettings(tmp_path / "results", device="cpu", places=Places(download=False))
    )
    fmn, ddn = summary.results
    assert [flag.rule for flag in fmn.flags] == ["no-distance-found"]
    assert [flag.rule for flag in ddn.flags] == []


def test_the_curves_are_written_beside_the_leaderboard(summary: RunSummary) -> None:
    from bench.store.run_directory import RunDirectory

    bench.leaderboard.write(RunDirectory.open(summary.directory))
    frame = pd.read_csv(summary.directory / "curves.csv")
    assert frame[["defense", "attack"]].drop_duplicates().to_numpy().tolist() == [
        ["none", "deepfool-50"],
        ["bit_depth-bits4", "deepfool-50"],
    ]
    for result in summary.results:
        if result.role == "suite" and result.search == "strongest":
            at = frame[(frame["defense"] == result.defense_id) & (frame["eps"] == float(result.threat_model.eps))]
            assert at["robust_accuracy"].tolist() == pytest.approx([result.metrics["robust_accuracy"].value], abs=1e-9)
