"""The plot of many nights shows the numbers, and rings where they changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from synthetic_run import Planned, build_run

from bench.leaderboard.history import frame, history
from bench.plots import history as plot
from bench.plots import saving


def drawn(directory: Path) -> Figure:
    with saving.style():
        figure = plot.draw(frame(history(directory)), "worst case", "a note with $ in it")
        assert figure is not None
        saving.freeze(figure)
        return figure


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    for day, broken in enumerate([4, 4, 30, 31]):
        build_run(
            tmp_path / f"2025-01-{day + 1:02d}",
            [
                Planned(model="a", broken=range(broken), threat_model=ball, status="done")
                for ball in ("linf:4/255", "linf:8/255")
            ]
            + [Planned(model="b_1", threat_model="linf:8/255")],
            n=80,
        )
    return tmp_path


def test_lines_are_the_numbers(nights: Path) -> None:
    figure = drawn(nights)
    small, large = figure.axes
    curve = small.lines[0]
    assert np.allclose(curve.get_ydata(), [95, 95, 62.5, 61.25])
    assert [label.get_text() for label in small.get_xticklabels()] == [f"2025-01-{day:02d}" for day in range(1, 5)]
    assert small.get_title(loc="left") == "linf:4/255"
    assert "worst case (%)" in small.get_ylabel()
    assert len([line for line in large.lines if len(line.get_xdata()) == 4]) >= 2


def test_changes_have_a_ring_and_their_size(nights: Path) -> None:
    small = drawn(nights).axes[0]
    rings = [line for line in small.lines if line.get_markersize() == 11]
    assert [tuple(map(float, (ring.get_xdata()[0], ring.get_ydata()[0]))) for ring in rings] == [(2.0, 62.5)]  # type: ignore[index]
    assert [text.get_text() for text in small.texts] == ["-32.5"]
    legend = [text.get_text() for text in drawn(nights).legends[0].get_texts()]
    assert legend == ["a", "b_1", "jump against the night before, in points"]


def test_nothing_changed_and_nothing_is_ringed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build_run(tmp_path / name, [Planned(), Planned(attack="fgsm", status="error", reason="x", rows=[])])
    figure = drawn(tmp_path)
    assert not figure.axes[0].texts
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["model-a", "at most: not complete"]


def test_the_line_is_broken_where_a_history_begins_anew(tmp_path: Path) -> None:
    for day in range(5):
        more = [Planned(attack="autoattack", broken=range(9))] if day >= 3 else []
        build_run(tmp_path / f"2025-01-{day + 1:02d}", [Planned(), *more])
    axis = drawn(tmp_path).axes[0]
    lines = [line.get_ydata() for line in axis.lines if line.get_linewidth() == 1.2]
    assert [[round(float(one), 6) for one in line] for line in lines if len(line)] == [[100, 100, 100], [55, 55]]
    assert [float(np.ptp(band.get_paths()[0].vertices[:, 0])) for band in axis.collections] == [2, 1]


def test_files_are_the_same_every_time(nights: Path, tmp_path: Path) -> None:
    files = []
    for name in ("x", "y"):
        with saving.style():
            figure = plot.draw(frame(history(nights)), "worst case")
            assert figure is not None
            written = saving.save(tmp_path / "out" / name, "history", figure)
        assert [path.name for path in written] == ["history.png", "history.pdf"]
        files.append([path.read_bytes() for path in written])
    assert files[0] == files[1]


def test_many_nights_have_few_names(tmp_path: Path) -> None:
    for day in range(30):
        build_run(tmp_path / f"night-{day:02d}", [Planned(broken=[day % 3])], n=5, clean=False)
    axis = drawn(tmp_path).axes[0]
    assert len(axis.get_xticks()) == 10
