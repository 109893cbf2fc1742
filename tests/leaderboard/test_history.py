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
    snapshot,
    write,
)
from bench.leaderboard.history import FORMATS, History, history
from bench.leaderboard.verdicts import verdicts_of


def night(outcomes: Sequence[np.ndarray], day: int, images: str = "") -> Baseline:
    rows = [
        BaselineRow(threat_model="linf:8/255", model=f"m{at}", defense="none", definition="", complete=True,
                    clean=None, worst=verdicts_of(found.astype(float)), cells={})
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


def test_a_new_attack_begins_anew(tmp_path: Path) -> None:
    strong = [Planned(broken=range(4)), Planned(attack="autoattack", broken=range(40))]
    for name, planned in (("n0", [Planned(broken=range(4))]), ("n1", strong), ("n2", strong)):
        build_run(tmp_path / name, planned, n=60)
    found = history(tmp_path)
    assert [point.value for point in found.points] == [56 / 60, 20 / 60, 20 / 60]
    assert marks(found) == []
    assert [point.anew for point in found.points] == [False, True, False]
    assert found.notes == ("n1 is not compared with n0, since it measures something else: new: autoattack (model-a)",)
    assert history(tmp_path, "pgd-20").notes == ()  # that one is the same


def test_another_attack_of_the_same_name_begins_anew(tmp_path: Path) -> None:
    build_run(tmp_path / "n0", [Planned()], n=60)
    run = build_run(tmp_path / "n1", [Planned(broken=range(30), defense="none")], n=60)
    (cell,) = run.read_cells()
    run.write_cell(cell.model_copy(update={"attack": cell.attack.model_copy(update={"args": {"steps": 40}})}))
    for number in ("worst case", "pgd-20"):
        found = history(tmp_path, number)
        assert marks(found) == []
        assert found.notes[0].endswith("since it measures something else: pgd-20: steps None and 40 (model-a)")
    assert history(tmp_path, "clean").notes == ()


def test_a_failed_night_is_no_rise_and_the_next_no_drop(tmp_path: Path) -> None:
    sound = [Planned(broken=range(30)), Planned(attack="fgsm")]
    failed = [Planned(status="error", reason="x", rows=[]), Planned(attack="fgsm")]
    worse = [Planned(broken=range(45)), Planned(attack="fgsm")]
    for name, planned in (("n0", sound), ("n1", failed), ("n2", sound), ("n3", failed), ("n4", worse)):
        build_run(tmp_path / name, planned, n=60)
    found = history(tmp_path)
    assert [point.bound for point in found.points] == [False, True, False, True, False]
    assert marks(found) == [("n4", "model-a", "jump")]  # against n2
    assert found.notes == ()


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
    with pytest.raises(UnknownNameError, match="unknown number 'pgd-7'; did you mean pgd-20"):
        history(tmp_path, "pgd-7")
    with pytest.raises(UnknownNameError, match=r"unknown threat model 'linf:4/255'; did you mean linf:8/255"):
        history(tmp_path, threat_model="linf:4/255")


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
    with pytest.raises(StoreError, match=r"several suites here \(\w+, \w+\); name one with --suite"):
        history(tmp_path)
    assert history(tmp_path, suite="other").nights == ("other",)
    with pytest.raises(UnknownNameError, match="unknown suite 'ohter'; did you mean other"):
        history(tmp_path, suite="ohter")


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
