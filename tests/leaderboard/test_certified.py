"""``certified.csv``: certified accuracy against the radius."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from synthetic_run import Planned, build_run

import bench.leaderboard
from bench.stats import wilson
from bench.store.certified import certificates
from bench.store.outcomes import read_outcomes
from bench.store.records import Flag

NEEDED = {"role": "certificate", "attack": "certified", "defense": "smoothing-s0.25", "threat_model": "l2:0.5"}


def certificate(**more: object) -> Planned:
    return Planned(**{**NEEDED, **more})  # type: ignore[arg-type]


def attacked(**more: object) -> Planned:
    return Planned(**{"defense": "smoothing-s0.25", "threat_model": "l2:0.5", **more})  # type: ignore[arg-type]


def written(path: Path, planned: list[Planned], n: int = 10) -> pd.DataFrame:
    assert path / "certified.csv" in bench.leaderboard.write(build_run(path, planned, n=n, clean=False))
    return pd.read_csv(path / "certified.csv")


def test_every_step_counts_what_is_certified_up_to_it(tmp_path: Path) -> None:
    radii = {0: 0.25, 1: 0.25, 2: 0.75, 3: -2.0, 4: 1.0}  # 3: another class is certified; 4: wrong on the clean image
    frame = written(tmp_path, [attacked(), certificate(radii=radii, wrong=[4])])
    assert frame.columns.tolist() == [
        "model", "defense", "norm", "radius", "certified_accuracy", "low", "high", "bound",
    ]  # fmt: skip
    assert frame[["model", "defense", "norm", "bound"]].drop_duplicates().to_numpy().tolist() == [
        ["model-a", "smoothing-s0.25", "l2", "lower"]
    ]
    assert frame["radius"].tolist() == [0, 0.25, 0.75]
    assert frame["certified_accuracy"].tolist() == [0.3, 0.3, 0.1]
    assert frame[["low", "high"]].to_numpy()[2].tolist() == pytest.approx(wilson(1, 10))


def test_several_eps_have_one_certificate(tmp_path: Path) -> None:
    planned = [
        part
        for eps in ("0.25", "0.5")
        for part in (
            attacked(threat_model=f"l2:{eps}"),
            certificate(threat_model=f"l2:{eps}", radii={0: 0.125}),
        )
    ]
    frame = written(tmp_path, [*planned, attacked(model="b"), certificate(model="b", radii={})])
    assert frame[["model", "radius", "certified_accuracy"]].to_numpy().tolist() == [
        ["model-a", 0, 0.1],
        ["model-a", 0.125, 0.1],
        ["b", 0, 0],  # it abstains everywhere
    ]


def test_many_steps_are_sampled(tmp_path: Path) -> None:
    n = 500
    frame = written(tmp_path, [attacked(), certificate(radii={i: (i + 1) / n for i in range(n)})], n=n)
    assert len(frame) == 200
    assert (frame["certified_accuracy"] - (1 - frame["radius"])).abs().max() <= 1.01 / n
    assert frame["radius"].iloc[-1] == 1
    assert frame["certified_accuracy"].iloc[-1] == pytest.approx(1 / n)


@pytest.mark.parametrize(
    "more",
    [
        {"status": "error", "reason": "x"},
        {"recorded": False},
        {"rows": range(5)},
        {"flags": (Flag(rule="x", severity="invalid", message="x"),)},
    ],
)
def test_what_failed_certifies_nothing_and_an_older_file_goes(tmp_path: Path, more: dict[str, object]) -> None:
    run = build_run(tmp_path, [attacked(), certificate(radii={0: 1.0}, **more)], n=10)
    (tmp_path / "certified.csv").write_text("old")
    assert tmp_path / "certified.csv" not in bench.leaderboard.write(run)
    assert not (tmp_path / "certified.csv").exists()


def test_an_eps_whose_certificate_failed_leaves_that_of_the_next(tmp_path: Path) -> None:
    planned = [
        certificate(threat_model="l2:0.25", status="error", reason="x", rows=[]),
        attacked(threat_model="l2:0.25"),
        certificate(radii={0: 0.5}, defense_args={"alpha": 0.05}),
        attacked(),
    ]
    (found,) = certificates(read_outcomes(build_run(tmp_path, planned, n=10)))
    assert (found.label, found.norm, found.alpha) == ("model-a + smoothing-s0.25", "l2", 0.05)
    assert [tuple(one)[:2] for one in found.at([0.0, 0.5, 0.500001])] == [(0, 0.1), (0.5, 0.1), (0.500001, 0)]
