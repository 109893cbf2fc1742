"""How a mean accuracy under common corruptions came about, in words and as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corrupted_run import N, build
from synthetic_run import Planned, build_run

from bench.errors import StoreError, UnknownNameError
from bench.leaderboard.explain import explain
from bench.leaderboard.explanation import Explanation
from bench.leaderboard.prose import prose

KINDS = [{"name": "fog", "severities": [1, 3]}, {"name": "snow", "severities": [1, 3]}]
REACH = np.arange(N) % 6


def test_the_mean_and_every_corruption_are_told(tmp_path: Path) -> None:
    found = explain(build(tmp_path, KINDS, models=("a", "b")), "a")
    (row,) = found.corrupted
    assert (found.rows, row.cells, row.judged, row.seed, row.draws) == ((), 4, 4 * N, 0, None)
    assert row.always == (REACH >= 3).sum()
    text = prose(found, 200)
    mean = 50 * ((REACH >= 1).mean() + (REACH >= 3).mean())
    assert f"a under common corruptions: mean accuracy {mean:.1f} %" in text
    assert "imagelib 1.2" in text
    assert f"(by severity 1: {100 * (REACH >= 1).mean():.1f}, 3: {100 * (REACH >= 3).mean():.1f})" in text
    assert max(map(len, prose(found, 60).splitlines())) <= 60
    assert Explanation.model_validate_json(found.model_dump_json()) == found


def test_published_files_have_no_seed_and_their_numbers_beside(tmp_path: Path) -> None:
    run = build(
        tmp_path, {"kinds": "all", "path": "x"}, published=("cifar10", "corruptions", "Hendrycks2020AugMix_WRN")
    )
    found = explain(run, "a")
    assert found.corrupted[0].seed is None
    assert "95.08 % clean and 88.82 % under corruptions." in prose(found, 200)


def test_a_cell_without_a_number_is_named(tmp_path: Path) -> None:
    found = explain(build(tmp_path, KINDS, statuses={"fog 3": "error"}), "a")
    assert found.corrupted[0].always is None
    text = prose(found, 200)
    assert "a under common corruptions: no mean: error" in text
    assert "fog 3: error: it broke" in text


def test_only_rows_that_are_meant(tmp_path: Path) -> None:
    run = build(tmp_path / "corrupted", KINDS)
    with pytest.raises(UnknownNameError, match="unknown model"):
        explain(run, "z")
    with pytest.raises(UnknownNameError, match="unknown defense of a"):
        explain(run, "a", defense="jpeg")
    with pytest.raises(StoreError, match="no rows under common corruptions"):
        explain(build_run(tmp_path / "attacked", [Planned(model="a")]), "a", threat_model="corruptions")
