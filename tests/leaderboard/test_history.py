"""Changes over many nights are found where they were planted, and nowhere else."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import Planned, build_run

from bench.errors import StoreError, UnknownNameError
from bench.leaderboard import baseline
from bench.leaderboard.baseline import (
    Baseline,
    BaselineDataset,
    BaselineRow,
    BaselineSamples,
    _verdicts,
    snapshot,
    write,
)
from bench.leaderboard.history import FORMATS, History, history


def night(outcomes: Sequence[np.ndarray], day: int, images: str = "") -> Baseline:
    rows = [
        BaselineRow(threat_model="linf:8/255", model=f"m{at}", defense="none", definition="", complete=True,
                    clean=None, worst=_verdicts(found.astype(float)), cells={})
        for at, found in enumerate(outcomes)
    ]  # fmt: skip
    return Baseline(
        suite="s", made=f"2025-01-{day:02d}", dataset=BaselineDataset(name="d", digest=""),
        samples=BaselineSamples(count=len(outcomes[0]), digest=images), audited=False, definitions={}, rows=tuple(rows),
    )  # fmt: skip


def of(directory: Path, nights: Sequence[Baseline]) -> History:
    directory.mkdir(parents=True, exist_ok=True)
    for at, found in enumerate(nights):
        write(directory / f"n{at:02d}.json", found)
    return history(directory)


def marks(found: History) -> list[tuple[str, str, str]]:
    return [(point.night, point.row, point.change) for point in found.points if point.change]


def keeping(n: int, kept: int) -> np.ndarray:
    return np.arange(n) < kept


def test_a_jump_is_marked_where_it_is(tmp_path: Path) -> None:
    levels = [400, 400, 401, 380, 380, 380]
    found = of(tmp_path, [night([keeping(512, level), keeping(512, 300)], day + 1) for day, level in enumerate(levels)])
    assert marks(found) == [("n03", "m0", "jump")]
    (point,) = [point for point in found.points if point.change]
    assert point.difference == pytest.approx(-21 / 512)
    assert found.tests == 1 + 3  # the night against the one before; it and the two after it against the first


def test_a_slow_drift_is_marked_once_it_shows(tmp_path: Path) -> None:
    found = of(tmp_path, [night([keeping(512, 400 - 3 * day)], day + 1) for day in range(9)])
    # No night loses more than three. Six are enough once the later nights have used up their parts of the level.
    assert marks(found) == [("n02", "m0", "drift")]
    assert found.tests == 7


def test_other_images_begin_anew(tmp_path: Path) -> None:
    nights = [
        night([keeping(512, 400)], 1),
        night([keeping(512, 300)], 2, "other"),
        night([keeping(512, 300)], 3, "other"),
    ]
    found = of(tmp_path, nights)
    assert marks(found) == []
    assert found.notes == ("n01 is on other images than n00: the two are not compared",)


def test_noise_is_marked_with_the_stated_rate(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    wrong = 0
    for trial in range(60):
        strength = rng.random((2, 256))
        nights = [night(list(strength + 0.03 * rng.normal(size=strength.shape) > 0.5), day + 1) for day in range(8)]
        wrong += bool(marks(of(tmp_path / str(trial), nights)))
    assert wrong <= 8  # 99.8 % quantile of Binomial(60, 0.05)


def test_runs_and_baselines_are_nights(tmp_path: Path) -> None:
    for name, broken in (("one", 2), ("two", 15)):
        build_run(tmp_path / name, [Planned(broken=range(broken)), Planned(model="b", wrong=[1])], n=60)
    write(tmp_path / "zero.json", snapshot(build_run(tmp_path / "elsewhere" / "x", [Planned()], n=60)))
    found = history(tmp_path)
    assert found.nights == ("one", "two", "zero")  # all at the same time
    assert [point.value for point in found.points if point.row == "b"] == [59 / 60, 59 / 60, None]
    assert ("two", "model-a", "jump") in marks(found)
    clean = history(tmp_path, "clean")
    assert {point.value for point in clean.points} == {1.0, 59 / 60, None}
    assert history(tmp_path, "pgd-20").points[1].value == 45 / 60
    with pytest.raises(UnknownNameError, match="unknown number 'pgd-7'"):
        history(tmp_path, "pgd-7")


def test_what_cannot_be_read_is_left_out_and_told(tmp_path: Path) -> None:
    build_run(tmp_path / "one", [Planned()])
    (tmp_path / "broken.json").write_text("{")
    found = history(tmp_path)
    assert found.nights == ("one",)
    assert "broken.json: damaged" in found.notes[0]
    with pytest.raises(StoreError, match="no run and no baseline"):
        history(tmp_path / "nothing")
    write(tmp_path / "other.json", baseline.snapshot(build_run(tmp_path / "x" / "y", [Planned()])).model_copy(
        update={"suite": "other"}))  # fmt: skip
    with pytest.raises(StoreError, match=r"several suites here \(\w+, \w+\)"):
        history(tmp_path)


def test_incomplete_nights_are_at_most(tmp_path: Path) -> None:
    build_run(tmp_path / "one", [Planned(), Planned(attack="fgsm", status="error", reason="x", rows=[])])
    (point,) = history(tmp_path).points
    assert (point.bound, point.low) == (True, None)
    assert "≤ 100.0" in FORMATS["text"](history(tmp_path))


def test_renderings(tmp_path: Path) -> None:
    found = of(tmp_path, [night([keeping(512, level)], day + 1) for day, level in enumerate([400, 370])])
    odd = found.model_copy(
        update={"points": tuple(point.model_copy(update={"row": "<b>|_*x*"}) for point in found.points)}
    )
    assert "72.3 ▼" in FORMATS["text"](odd)
    markdown = FORMATS["md"](odd)
    assert r"\<b\>\|\_\*x\*" in markdown
    assert "<b>" not in markdown
    lines = list(csv.DictReader(io.StringIO(FORMATS["csv"](odd))))
    assert [line["change"] for line in lines] == ["", "jump"]
    assert lines[1]["row"] == "<b>|_*x*"
    assert History.model_validate_json(FORMATS["json"](odd)) == odd
