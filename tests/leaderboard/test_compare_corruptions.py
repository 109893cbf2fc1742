"""Two rows under common corruptions side by side, on verdicts that the test chooses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corrupted_run import N, Verdicts, build, right
from synthetic_run import Planned, build_run

from bench.errors import StoreError, UnknownNameError
from bench.leaderboard.compare import compare
from bench.leaderboard.comparison import Comparison, Entry, Pair
from bench.leaderboard.matched import Chosen
from bench.leaderboard.side_by_side import FORMATS
from bench.stats import holm, paired, paired_interval, tango
from bench.suites.corruption_cells import CorruptionCell

KINDS = [{"name": "fog", "severities": [1, 3]}, {"name": "snow", "severities": [1, 3]}]


def losing(cell: CorruptionCell) -> Verdicts:
    """As :func:`right`; under fog the first eight images that are right are lost."""
    found = right(cell)
    if cell.corruption == "fog":
        found[np.flatnonzero(found)[:8]] = 0
    return found


def two(tmp_path: Path, a: Any = KINDS, b: Any = KINDS, **more: Any) -> Comparison:
    return compare(build(tmp_path / "a", a), build(tmp_path / "b", b, **more))


def entry(pair: Pair, name: str) -> Entry:
    return next(one for one in pair.entries if one.name == name)


def shares(verdicts: Callable[[CorruptionCell], Verdicts], kind: str) -> Verdicts:
    """For each image the mean over severities 1 and 3."""
    cells = [CorruptionCell(None, None, None, kind, severity, None, 0, "") for severity in (1, 3)]  # type: ignore[arg-type]
    return np.mean([verdicts(cell) for cell in cells], axis=0)


def test_means_are_paired_by_image(tmp_path: Path) -> None:
    found = two(tmp_path, verdicts=losing)
    (pair,) = found.pairs
    assert (pair.threat_model, pair.a, pair.images) == ("Common corruptions", "a", N)
    assert [one.name for one in pair.entries] == ["clean", "corrupted", "fog", "snow"]
    before, after = shares(right, "fog"), shares(losing, "fog")
    mean, fog, snow = (entry(pair, name) for name in ("corrupted", "fog", "snow"))
    assert fog.difference == pytest.approx((after - before).mean())
    assert mean.difference == pytest.approx((after - before).mean() / 2)
    wanted = paired_interval((after + before) / 2, before)
    assert (mean.low, mean.high, mean.p) == (wanted.low, wanted.high, paired((after + before) / 2, before))
    assert mean.lost == tuple(f"s{at}" for at in np.flatnonzero(after < before))
    assert (snow.difference, snow.lost, snow.gained, snow.p) == (0, (), (), 1)
    assert (snow.low, snow.high) == pytest.approx(tuple(tango(0, 0, N)))
    ps = [one.p for one in pair.entries]
    assert [one.adjusted for one in pair.entries] == holm(ps)  # type: ignore[arg-type]


def test_other_corruptions_leave_the_shared_ones(tmp_path: Path) -> None:
    (pair,) = two(tmp_path, b=[*KINDS[:1], {"name": "snow", "severities": [1, 5]}, "frost"]).pairs
    assert entry(pair, "corrupted").reason == "snow: severities 1, 3 in A, 1, 5 in B; frost: only B has it, A doesn't"
    assert entry(pair, "corrupted").p is None
    assert entry(pair, "mean of the shared corruptions (fog)").difference == 0
    assert entry(pair, "frost").a is None


def test_a_failed_cell_gives_no_number(tmp_path: Path) -> None:
    (pair,) = two(tmp_path, statuses={"fog 3": "error"}).pairs
    assert entry(pair, "corrupted").b is None
    assert entry(pair, "corrupted").reason == "fog: B: severity 3: error: it broke"
    assert entry(pair, "snow").p == 1


def test_other_corrupted_images_are_refused_or_told(tmp_path: Path) -> None:
    (pair,) = two(tmp_path / "other", library="2.0", pictures="e").pairs
    assert "other corrupted images in A and B: made_by" in entry(pair, "fog").reason
    (pair,) = two(tmp_path / "rounding", pictures="e").pairs
    assert entry(pair, "fog").p == 1
    assert pair.notes == (f"{4 * N} corrupted images are others in A and B, though the same libraries made them",)
    (pair,) = two(tmp_path / "newer", library="2.0").pairs
    assert (entry(pair, "fog").p, pair.notes) == (1, ())


def test_rows_of_one_run_and_those_that_are_asked_for(tmp_path: Path) -> None:
    run = build(tmp_path / "run", KINDS, models=("a", "b", "c"))
    assert [(pair.a, pair.b) for pair in compare(run, None).pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [(pair.a, pair.b) for pair in compare(run, None, Chosen(rows=("c", "a"))).pairs] == [("c", "a")]
    other = build(tmp_path / "other", KINDS, models=("a", "d"))
    found = compare(run, other, Chosen(threat_model="corruptions"))
    assert [pair.a for pair in found.pairs] == ["a"]
    assert [one.reason for one in found.refused] == [
        "only A has it; B has no such row", "only A has it; B has no such row", "only B has it; A has no such row",
    ]  # fmt: skip
    with pytest.raises(UnknownNameError, match="unknown model"):
        compare(run, None, Chosen(model="z"))
    with pytest.raises(StoreError, match="there are no two rows to compare"):
        compare(run, None, Chosen(threat_model="linf"))


def test_a_run_of_attacks_has_no_pair_with_one_of_corruptions(tmp_path: Path) -> None:
    attacked = build_run(tmp_path / "attacked", [Planned(model="a")], n=N)
    corrupted = build(tmp_path / "corrupted", KINDS)
    corrupted.write_run(corrupted.read_run().model_copy(update={"dataset": attacked.read_run().dataset}))
    with pytest.raises(StoreError, match=r"(?s)attacks: only A.*common corruptions: only B"):
        compare(attacked, corrupted)


@pytest.mark.parametrize("form", ["text", "md", "latex", "csv", "json"])
def test_every_format_has_the_mean_and_each_corruption(tmp_path: Path, form: str) -> None:
    text = FORMATS[form](two(tmp_path, verdicts=losing))
    assert all(name in text for name in ("corrupted", "fog", "snow"))
    assert ("fog: lost" in text) is False
