"""Common corruptions in baselines, gates and histories, on verdicts that the test chooses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corrupted_run import N, Verdicts, build, right

from bench.errors import StoreError, UnknownNameError
from bench.leaderboard import baseline as baselines
from bench.leaderboard.baseline import Baseline, snapshot
from bench.leaderboard.checks import Check, GateResult
from bench.leaderboard.gate import gate
from bench.leaderboard.gate_checks import GateSettings
from bench.leaderboard.gate_text import text
from bench.leaderboard.history import history
from bench.store.run_directory import RunDirectory
from bench.suites.corruption_cells import CorruptionCell

KINDS = [{"name": "fog", "severities": [1, 3]}, {"name": "snow", "severities": [1, 3]}]
Made = Callable[[CorruptionCell], Verdicts]


def losing(count: int, corruption: str = "fog") -> Made:
    """As :func:`right`, and so many images more are lost under a corruption at both severities."""

    def verdicts(cell: CorruptionCell) -> Verdicts:
        found = right(cell)
        if cell.corruption == corruption:
            found[np.flatnonzero(found)[:count]] = 0
        return found

    return verdicts


def gated(tmp_path: Path, now: RunDirectory, before: RunDirectory | None = None, **settings: Any) -> GateResult:
    old = snapshot(before or build(tmp_path / "before", KINDS))
    return gate(old, snapshot(now, like=old), GateSettings(**settings), run="now")


def numbers(result: GateResult) -> dict[str, Check]:
    return {check.number: check for check in result.checks if check.check == "accuracy"}


def failures(result: GateResult) -> list[tuple[str, str]]:
    return [(check.number, check.check) for check in result.failed]


def test_a_baseline_has_the_verdicts_of_every_cell(tmp_path: Path) -> None:
    found = snapshot(build(tmp_path / "run", KINDS))
    baselines.write(tmp_path / "b.json", found)
    assert baselines.read(tmp_path / "b.json") == found
    (row,) = found.corrupted
    assert found.rows == ()
    assert (row.label, list(row.cells)) == ("a", ["fog 1", "fog 3", "snow 1", "snow 3"])
    reach = np.arange(N) % 6
    mean = row.mean(row.cells, N)
    assert mean is not None
    assert mean.tolist() == (((reach >= 1) * 1.0 + (reach >= 3)) / 2).tolist()
    assert row.mean(["fog 1", "hail 1"], N) is None
    assert found.definitions[row.cells["fog 3"].definition] == {
        "corruption": "fog", "severity": 3, "made_by": {"imagelib": "1.2"},
    }  # fmt: skip


def test_a_damaged_verdict_is_named(tmp_path: Path) -> None:
    baselines.write(tmp_path / "b.json", snapshot(build(tmp_path / "run", KINDS)))
    whole = (tmp_path / "b.json").read_text()
    (tmp_path / "b.json").write_text(whole.replace('"correct": 33.0', '"correct": 34.0', 1))
    with pytest.raises(StoreError, match="a under corruptions, fog 1: damaged verdicts"):
        baselines.read(tmp_path / "b.json")


def test_the_same_run_passes_and_a_drop_under_one_corruption_fails(tmp_path: Path) -> None:
    same = gated(tmp_path, build(tmp_path / "same", KINDS))
    assert same.passed
    assert list(numbers(same)) == ["clean", "corrupted", "fog", "snow"]
    worse = gated(tmp_path, build(tmp_path / "worse", KINDS, verdicts=losing(12)))
    assert failures(worse) == [("corrupted", "accuracy"), ("fog", "accuracy")]
    mean, clean = numbers(worse)["corrupted"], numbers(worse)["clean"]
    assert mean.baseline is not None
    assert mean.now is not None
    assert 100 * (mean.baseline - mean.now) == pytest.approx(100 * 24 / (4 * N))
    assert (clean.lost, clean.gained) == (0, 0)
    assert "FAILED a | corruptions | corrupted: accuracy:" in text(worse)
    assert gated(tmp_path, build(tmp_path / "few", KINDS, verdicts=losing(2))).passed
    assert gated(tmp_path, build(tmp_path / "margin", KINDS, verdicts=losing(12)), margin=35.0).passed


def test_non_inferiority_is_shown_of_the_mean_too(tmp_path: Path) -> None:
    result = gated(tmp_path, build(tmp_path / "worse", KINDS, verdicts=losing(12)), non_inferiority=10.0)
    assert ("corrupted", "accuracy") in failures(result)
    assert numbers(result)["snow"].passed


@pytest.mark.parametrize("status", ["error", "missing"])
def test_a_failed_cell_fails_and_gives_no_mean(tmp_path: Path, status: str) -> None:
    result = gated(tmp_path, build(tmp_path / "now", KINDS, statuses={"fog 3": status}))
    assert failures(result) == [("fog 3", "status"), ("corrupted", "accuracy"), ("fog", "accuracy")]
    assert numbers(result)["corrupted"].now is None


def test_other_corrupted_images_are_named_and_not_paired(tmp_path: Path) -> None:
    other = gated(tmp_path, build(tmp_path / "other", KINDS, library="2.0", pictures="e"))
    assert {check for _, check in failures(other)} == {"definition"}
    assert list(numbers(other)) == ["clean"]
    assert "made_by {'imagelib': '1.2'} and {'imagelib': '2.0'}" in other.failed[0].message
    assert gated(tmp_path, build(tmp_path / "newer", KINDS, library="2.0")).passed  # the very same images
    assert gated(tmp_path, build(tmp_path / "elsewhere", KINDS, pictures="e")).passed  # the same library


def test_missing_rows_fail_and_new_ones_are_told(tmp_path: Path) -> None:
    two = build(tmp_path / "two", KINDS, models=("a", "b"))
    gone = gated(tmp_path, build(tmp_path / "one", KINDS), two)
    assert {(check.row, check.check) for check in gone.failed} == {("b", "status"), ("b", "accuracy")}
    more = gated(tmp_path, build(tmp_path / "more", [*KINDS, "frost"], models=("a", "b")))
    assert more.passed
    assert more.notes == (
        "a under corruptions: not in the baseline, and not counted: frost 1, frost 2, frost 3, frost 4, frost 5",
        "b under corruptions: not in the baseline",
    )


def test_an_incomplete_row_is_no_baseline(tmp_path: Path) -> None:
    found: Baseline = snapshot(build(tmp_path, KINDS, statuses={"fog 3": "error"}))
    assert baselines.incomplete(found) == ["a under corruptions (fog 3: error)"]


def nights(tmp_path: Path, *made: dict[str, Any]) -> Path:
    for day, more in enumerate(made):
        build(tmp_path / "small" / f"night-{day}", KINDS, started=f"2026-01-0{day + 1}T00:00:00", **more)
    return tmp_path / "small"


def test_a_history_of_the_mean_and_of_one_corruption(tmp_path: Path) -> None:
    place = nights(tmp_path, {}, {"library": "2.0"}, {"verdicts": losing(12)})
    found = history(place)
    assert (found.number, found.notes) == ("corrupted", ())
    reach = np.arange(N) % 6
    whole = ((reach >= 1).mean() + (reach >= 3).mean()) / 2
    values = [point.value for point in found.points]
    assert values == pytest.approx([whole, whole, whole - 24 / (4 * N)])
    assert [point.change for point in found.points] == ["", "", "jump"]
    assert {point.threat_model for point in found.points} == {"corruptions"}
    assert not any(point.change for point in history(place, "snow").points)
    assert next(point.value for point in history(place, "fog 3").points) == (reach >= 3).mean()
    with pytest.raises(UnknownNameError, match="clean, corrupted, fog, snow, fog 1"):
        history(place, "worst case")


def test_other_corrupted_images_begin_a_history_anew(tmp_path: Path) -> None:
    found = history(nights(tmp_path, {}, {"library": "2.0", "pictures": "e", "verdicts": losing(12)}))
    assert [(point.anew, point.change) for point in found.points] == [(False, ""), (True, "")]
    assert "fog 1: made_by {'imagelib': '1.2'} and {'imagelib': '2.0'}" in found.notes[0]
