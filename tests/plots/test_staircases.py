"""Curves against eps and against passes draw the steps of the records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from synthetic_run import Planned, build_run

import bench.plots
from bench.plots import curves, frames, passes, saving, staircases
from bench.plots.panels import looks
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory

NEAR = [
    Planned(model="a", attack="fmn-100", search="strongest", threat_model="l2:0.5", distances={0: 0.25, 1: 1.0}, wrong=[3]),
    Planned(model="a", attack="ddn-100", search="strongest", threat_model="l2:0.5", distances={1: 0.75}, wrong=[3]),
    Planned(model="a", attack="pgd-20", threat_model="l2:0.5", broken=[0, 1], wrong=[3], passes={0: 2, 1: 6}),
    Planned(model="b", attack="fmn-100", search="strongest", threat_model="l2:0.5", distances={0: 2.0}),
]  # fmt: skip


def drawn(module: object, run: RunDirectory, panel: str) -> Figure | None:
    outcome = read_outcomes(run)
    points = frames.points(frames.accuracy(outcome))
    frame = (staircases.distances if module is curves else staircases.passes)(outcome, points)
    with saving.style():
        figure: Figure | None = module.draw(frame[frame["panel"] == panel], looks(points, frame["series"]))  # type: ignore[attr-defined]
        if figure is not None:
            saving.freeze(figure)
    return figure


def lines(axis: Axes) -> list[list[tuple[float, float]]]:
    return [
        list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))
        for line in axis.lines
        if line.get_drawstyle() == "steps-post"
    ]


def test_curves_step_at_the_distances(tmp_path: Path) -> None:
    figure = drawn(curves, build_run(tmp_path, NEAR, n=4), "l2")
    assert figure is not None
    overview, first, second = figure.axes
    assert [axis.get_title(loc="left") for axis in (first, second)] == ["b", "a"]  # by worst case
    every_b, every_a = lines(overview)
    assert every_a[:5] == [(0, 75), (0.25, 50), (0.5, 50), (0.75, 25), (every_a[4][0], 25)]
    assert every_b[:2] == [(0, 100), (0.5, 100)]
    assert lines(first) == [every_b]
    fmn, ddn = lines(second)
    assert fmn[:3] == [(0, 75), (0.25, 50), (0.5, 50)]
    assert ddn[:3] == [(0, 75), (0.5, 75), (0.75, 50)]
    (mark,) = (line for line in second.lines if line.get_drawstyle() == "default")
    assert (mark.get_xdata(), mark.get_ydata()) == (pytest.approx([0.5]), pytest.approx([25]))
    assert "every curve is an upper bound" in figure.get_supxlabel()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["fmn-100", "ddn-100", "pgd-20 at its eps"]


def test_passes_step_where_samples_break(tmp_path: Path) -> None:
    figure = drawn(passes, build_run(tmp_path, NEAR, n=4), "L2 0.5")
    assert figure is not None
    (axis,) = figure.axes
    assert axis.get_title(loc="left") == "a | L2 0.5"
    assert axis.get_xscale() == "log"
    assert lines(axis) == [[(0.8, 75), (4, 50), (12, 25), (40, 25)]]
    (end,) = (line for line in axis.lines if line.get_drawstyle() == "default")
    assert (*end.get_xdata(), *end.get_ydata()) == (40, 25)
    assert "upper bounds" in figure.get_supxlabel()
    assert "attacks of libraries" in figure.get_supxlabel()


def test_nothing_to_draw_is_no_figure(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(attack="pgd-20", backend="foolbox")], n=4)
    assert drawn(curves, run, "linf") is None
    assert drawn(passes, run, "Linf 8/255") is None


def test_files_for_every_norm_and_threat_model(tmp_path: Path) -> None:
    linf = Planned(model="a", attack="fmn-100", search="strongest", threat_model="linf:0.1", distances={0: 0.05})
    run = build_run(tmp_path, [*NEAR, linf], n=4)
    old = tmp_path / "plots" / "curves-l1.png"
    old.parent.mkdir()
    old.write_bytes(b"old")
    names = [path.name for path in bench.plots.write(run) if path.suffix == ".png"]
    assert [name for name in names if name.startswith(("curves", "passes"))] == [
        "curves-l2.png",
        "curves-linf.png",
        "passes-l2-0.5.png",
    ]
    assert not old.exists()


@pytest.mark.parametrize("rows", [1, 13])
def test_any_number_of_rows_is_drawn(tmp_path: Path, rows: int) -> None:
    cells = [
        Planned(model=f"model-{i:02d}", attack=attack, search=search, threat_model="l2:0.5", broken=[0],
                distances={j: 0.1 * (i + j + 1) for j in range(15)} if search == "strongest" else None)
        for i in range(rows)
        for attack, search in (("fmn-100", "strongest"), ("pgd-20", "first_success"))
    ]  # fmt: skip
    run = build_run(tmp_path, cells)
    against_eps, against_passes = drawn(curves, run, "l2"), drawn(passes, run, "L2 0.5")
    assert against_eps is not None
    assert against_passes is not None
    assert len(against_eps.axes) == 1
    assert len(against_passes.axes) == min(rows, 12)
    assert ("the first 12 of 13 rows" in against_passes.get_supxlabel()) is (rows == 13)
    (legend,) = [*against_eps.legends, *([against_eps.axes[0].get_legend()] if rows > 1 else [])]
    shown = [text.get_text() for text in legend.get_texts()]
    assert len(shown) == (2 if rows == 1 else rows)
    width = against_eps.bbox.width
    assert np.isfinite(width)
    assert legend.get_window_extent().x1 <= width
