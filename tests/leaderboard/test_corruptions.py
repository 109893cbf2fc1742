"""The tables under common corruptions, on verdicts that the test chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from corrupted_run import N, Verdicts, build, right

import bench.leaderboard
from bench.leaderboard.corruptions import ALEXNET
from bench.leaderboard.records import CorruptionTable, Leaderboard
from bench.leaderboard.table import make
from bench.metrics import estimates
from bench.plots import corruptions as plots
from bench.plots import saving
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.corruption_cells import CorruptionCell, expand_corruptions
from bench.suites.corruptions import NAMES
from bench.suites.spec import Suite


def table(run: RunDirectory) -> CorruptionTable:
    board: Leaderboard = make(run)
    assert board.tables == ()
    assert board.corruptions is not None
    return board.corruptions


def test_the_mean_is_that_of_all_cells_and_its_interval_that_of_images(tmp_path: Path) -> None:
    found = table(build(tmp_path, "all"))
    (row,) = found.rows
    suite = Suite.model_validate({"name": "s", "dataset": "cifar10", "models": "zoo:a", "corruptions": "all"})
    every = np.stack([right(cell) for cell in expand_corruptions(suite)])
    assert every.shape == (75, N)
    assert row.accuracy is not None
    assert row.accuracy.value == pytest.approx(every.mean())
    wanted = estimates.mean(every.mean(axis=0))
    assert (row.accuracy.low, row.accuracy.high, row.accuracy.n) == (
        pytest.approx(wanted.low),
        pytest.approx(wanted.high),
        N,
    )
    # As if the 75 variants of an image were images of their own, the interval would be several times as narrow.
    wilson = estimates.proportion(every.ravel() > 0.5)
    width, naive = row.accuracy.high - row.accuracy.low, wilson.high - wilson.low  # type: ignore[operator]
    assert width > 5 * naive
    assert row.clean is not None
    assert row.clean.value == (N - 1) / N
    assert row.drop is not None
    assert row.drop.value == pytest.approx((N - 1) / N - every.mean())


def test_groups_corruptions_and_severities(tmp_path: Path) -> None:
    (row,) = table(build(tmp_path, ["gaussian_noise", "fog", "snow"])).rows
    reach = np.arange(N) % 6
    noise, weather = np.clip(reach + 1, 0, 5).mean() / 5, reach.mean() / 5
    assert {group: one.value for group, one in row.by_group.items()} == pytest.approx(
        {"noise": noise, "weather": weather}
    )
    assert row.by_corruption["fog"].value == pytest.approx(weather)
    assert row.by_severity[5].value == pytest.approx(((reach >= 4).mean() + 2 * (reach >= 5).mean()) / 3)
    assert row.cells["snow"][2].value == (reach >= 2).mean()


def test_severities_that_not_all_corruptions_have_make_no_curve(tmp_path: Path) -> None:
    found = table(build(tmp_path, [{"name": "fog", "severities": [1, 3, 5]}, {"name": "snow", "severities": [3, 5]}]))
    assert (found.severities, found.shared) == ((1, 3, 5), (3, 5))
    assert list(found.rows[0].by_severity) == [3, 5]
    assert "at severities 1, 3, 5 (not every one at each)" in bench.leaderboard.text(RunDirectory(tmp_path), width=400)
    assert found.rows[0].accuracy is not None
    reach = np.arange(N) % 6
    one, three, five = ((reach >= severity).mean() for severity in (1, 3, 5))
    assert found.rows[0].accuracy.value == pytest.approx(((one + three + five) / 3 + (three + five) / 2) / 2)


@pytest.mark.parametrize("status", ["error", "unavailable", "missing"])
def test_a_row_with_a_failed_cell_has_no_mean(tmp_path: Path, status: str) -> None:
    run = build(tmp_path, ["fog", "snow"], models=("a", "b"), statuses={"fog 2": status})
    for row in table(run).rows:
        assert (row.status, row.accuracy, row.drop, row.mce) == (status, None, None, None)
        assert list(row.by_corruption) == ["snow"]
        assert 2 not in row.by_severity
        assert sorted(row.cells["fog"]) == [1, 3, 4, 5]
    bench.leaderboard.write(run)
    text = (tmp_path / "leaderboard.md").read_text()
    assert f"a: {status}: {'not evaluated yet' if status == 'missing' else 'it broke'}" in text
    frame = pd.read_csv(tmp_path / "corruptions.csv")
    assert frame["accuracy"].isna().sum() == 2


def test_mce_is_relative_to_alexnet_and_imagenet_cs_alone(tmp_path: Path) -> None:
    def alexnet(cell: CorruptionCell) -> Verdicts:
        return np.full(N, 1 - ALEXNET[cell.corruption])

    spec = {"kinds": "all", "path": "ImageNet-C"}
    row = table(build(tmp_path / "alexnet", spec, dataset="imagenet", verdicts=alexnet)).rows[0]
    assert row.mce is not None
    assert row.mce.value == pytest.approx(1)
    row = table(build(tmp_path / "perfect", spec, dataset="imagenet", verdicts=lambda cell: np.ones(N))).rows[0]
    assert row.mce is not None
    assert row.mce.value == 0
    half = table(build(tmp_path / "half", spec, dataset="imagenet", verdicts=lambda cell: np.full(N, 0.5))).rows[0]
    assert half.mce is not None
    assert half.mce.value == pytest.approx(np.mean([0.5 / ALEXNET[name] for name in NAMES]))
    for name, spec, dataset in (
        ("generated", "all", "imagenet"),
        ("some", {"kinds": ["fog"], "path": "x"}, "imagenet"),
        ("cifar", {"kinds": "all", "path": "x"}, "cifar10"),
    ):
        assert table(build(tmp_path / name, spec, dataset=dataset)).rows[0].mce is None


def test_alexnets_errors_are_those_of_the_papers_table() -> None:
    paper = [88.6, 89.4, 92.3, 82.0, 82.6, 78.6, 79.8, 86.7, 82.7, 81.9, 56.5, 85.3, 64.6, 71.8, 60.7]
    assert [100 * ALEXNET[name] for name in NAMES] == pytest.approx(paper, abs=0.051)
    assert 100 * (1 - np.mean(list(ALEXNET.values()))) == pytest.approx(21.12, abs=0.3)  # RobustBench, on 5,000 images


PUBLISHED = ("cifar10", "corruptions", "Hendrycks2020AugMix_WRN")


def test_published_numbers_stand_beside_the_published_images_only(tmp_path: Path) -> None:
    known = table(build(tmp_path / "known", {"kinds": "all", "path": "x"}, published=PUBLISHED)).rows[0]
    assert known.published is not None
    assert known.accuracy is not None
    assert (known.published.clean, known.published.accuracy) == (0.9508, 0.8882)
    assert known.published.difference == pytest.approx(known.accuracy.value - 0.8882)  # type: ignore[operator]
    for name, spec, entry in (
        ("generated", "all", PUBLISHED),
        ("some", {"kinds": ["fog"], "path": "x"}, PUBLISHED),
        ("linf", {"kinds": "all", "path": "x"}, ("cifar10", "Linf", "Standard")),
    ):
        assert table(build(tmp_path / name, spec, published=entry)).rows[0].published is None


@pytest.mark.parametrize(
    ("corruptions", "note"),
    [
        ("all", "images made by imagelib 1.2 from the suite's own, with ImageNet-C's parameters and in 8 bits: not CIFAR-10-C, "
         "not comparable with published numbers"),
        ({"kinds": "all", "path": "x"}, "the published CIFAR-10-C, the mean over 15 corruptions at 5 severities as on "
         "RobustBench's corruption leaderboard, on 40 of its 10,000 images"),
        ({"kinds": "fog", "path": "x"}, "the published CIFAR-10-C, not all of its 15 corruptions at 5 severities: not "
         "RobustBench's mean"),
    ],
)  # fmt: skip
def test_the_note_says_whose_images_these_are(tmp_path: Path, corruptions: Any, note: str) -> None:
    run = build(tmp_path, corruptions)
    assert table(run).note == note
    bench.leaderboard.write(run)
    for name in ("leaderboard.md", "leaderboard.tex"):
        assert note.split(":")[0] in (tmp_path / name).read_text()


def test_rows_come_by_their_mean_and_are_written_everywhere(tmp_path: Path) -> None:
    def better(cell: CorruptionCell) -> Verdicts:
        return np.ones(N) if cell.model.id == "b" else right(cell)

    run = build(tmp_path, ["fog", "snow"], models=("a", "b"), verdicts=better)
    assert [row.model for row in table(run).rows] == ["b", "a"]
    assert tmp_path / "corruptions.csv" in bench.leaderboard.write(run)
    frame = pd.read_csv(tmp_path / "corruptions.csv")
    assert len(frame) == 20
    cell = frame[(frame["model"] == "a") & (frame["corruption"] == "fog") & (frame["severity"] == 2)].iloc[0]
    assert cell["accuracy"] == right(expand_corruptions(run.read_run().suite)[1]).mean()
    text = bench.leaderboard.text(run, width=60)
    for number in ("100.0", "48.0"):
        assert number in text
    assert max(map(len, text.splitlines())) <= 60
    assert Leaderboard.model_validate_json((tmp_path / "leaderboard.json").read_text()).corruptions == table(run)


def test_a_run_without_corruptions_has_no_such_table_and_an_older_file_goes(tmp_path: Path) -> None:
    from synthetic_run import Planned, build_run

    (tmp_path / "corruptions.csv").write_text("old")
    run = build_run(tmp_path, [Planned()], n=10)
    bench.leaderboard.write(run)
    assert make(run).corruptions is None
    assert not (tmp_path / "corruptions.csv").exists()
    assert "corruption" not in (tmp_path / "leaderboard.md").read_text()


# -- plots -----------------------------------------------------------------------------------------------------------


def test_the_curve_starts_at_the_clean_images(tmp_path: Path) -> None:
    run = build(tmp_path, ["fog", "gaussian_noise"], models=("a", "b"))
    frame = plots.accuracies(read_outcomes(run))
    with saving.style():
        figure = plots.draw_severities(frame)
    assert figure is not None
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 1]
    assert [line.get_label() for line in lines] == ["a", "b"]
    reach = np.arange(N) % 6
    wanted = [100 * ((reach >= s).mean() + (reach >= s - 1).mean()) / 2 for s in range(1, 6)]
    assert list(lines[0].get_xdata()) == [0, 1, 2, 3, 4, 5]
    assert list(lines[0].get_ydata()) == pytest.approx([100 * (N - 1) / N, *wanted])


def test_the_heat_map_shows_every_cell_and_a_dash_where_there_is_none(tmp_path: Path) -> None:
    run = build(tmp_path, ["fog", "gaussian_noise"], models=("a", "b"), statuses={"fog 3": "error"})
    with saving.style():
        figure = plots.draw_cells(plots.accuracies(read_outcomes(run)))
    assert figure is not None
    assert len(figure.axes) == 2
    texts = [text.get_text() for text in figure.axes[0].texts]
    reach = np.arange(N) % 6
    assert texts == [
        *(f"{100 * (reach >= s).mean():.0f}" if s != 3 else "–" for s in range(1, 6)),
        *(f"{100 * (reach >= s - 1).mean():.0f}" for s in range(1, 6)),
    ]


def test_there_is_no_plot_without_corruptions(tmp_path: Path) -> None:
    from synthetic_run import Planned, build_run

    frame = plots.accuracies(read_outcomes(build_run(tmp_path, [Planned()], n=10)))
    assert plots.draw_cells(frame) is None
    assert plots.draw_severities(frame) is None
