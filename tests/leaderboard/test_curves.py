"""``curves.csv``: robust accuracy against eps from minimal distances."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from synthetic_run import Planned, build_run

import bench.leaderboard
from bench.stats import wilson


def test_the_csv_holds_every_step_and_the_radii(tmp_path: Path) -> None:
    cells = [
        Planned(attack="fmn-100", search="strongest", threat_model="l2:0.25", wrong=[9], broken=[0, 1],
                distances={0: 0.125, 1: 0.125, 2: 0.75}),
        Planned(attack="pgd-20", threat_model="l2:0.25", wrong=[9], broken=[0]),
    ]  # fmt: skip
    written = bench.leaderboard.write(build_run(tmp_path, cells, n=10))
    assert [path.name for path in written] == [
        "leaderboard.md",
        "leaderboard.csv",
        "leaderboard.json",
        "leaderboard.tex",
        "curves.csv",
    ]
    frame = pd.read_csv(tmp_path / "curves.csv")
    assert frame.columns.tolist() == [
        "model", "defense", "attack", "norm", "eps", "robust_accuracy", "low", "high", "bound",
    ]  # fmt: skip
    assert frame[["model", "defense", "attack", "norm", "bound"]].drop_duplicates().to_numpy().tolist() == [
        ["model-a", "none", "fmn-100", "l2", "upper"]
    ]
    assert frame["eps"].tolist() == [0, 0.125, 0.25, 0.75]
    assert frame["robust_accuracy"].tolist() == [0.9, 0.7, 0.7, 0.6]
    assert frame[["low", "high"]].to_numpy()[2].tolist() == pytest.approx(wilson(7, 10))


def test_many_steps_are_sampled(tmp_path: Path) -> None:
    n = 500
    distances = {i: (i + 1) / n for i in range(n)}
    cell = Planned(attack="fmn-100", search="strongest", threat_model="l2:0.25", distances=distances)
    bench.leaderboard.write(build_run(tmp_path, [cell], n=n, clean=False))
    frame = pd.read_csv(tmp_path / "curves.csv")
    assert len(frame) == 201  # 200 and the radius
    assert (frame["robust_accuracy"] - (1 - frame["eps"])).abs().max() <= 1 / n
    assert frame["eps"].iloc[-1] == 1
    assert frame["robust_accuracy"].iloc[-1] == 0


def test_an_older_file_goes_where_there_is_no_curve(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(attack="pgd-20")])
    (tmp_path / "curves.csv").write_text("old")
    assert tmp_path / "curves.csv" not in bench.leaderboard.write(run)
    assert not (tmp_path / "curves.csv").exists()
