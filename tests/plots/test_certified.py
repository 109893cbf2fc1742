"""Certified accuracy against the radius: steps of the certificates, markers of the attacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from synthetic_run import Planned, build_run

import bench.plots
from bench.plots import certified, saving
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory

SMOOTHED = [
    Planned(model="a", defense="smoothing-s0.25", threat_model=f"l2:{eps}", broken=range(broken), attack=attack,
            role=role, radii=radii, defense_args={"alpha": 0.05})
    for eps, broken in (("0.5", 5), ("0.25", 2))
    for role, attack, radii in (("suite", "pgd-20", None), ("certificate", "certified", {7: 0.25, 8: 0.5, 9: 0.75}))
]  # fmt: skip


def drawn(run: RunDirectory) -> Figure | None:
    frame = certified.places(read_outcomes(run))
    with saving.style():
        figure = certified.draw(frame)
        if figure is not None:
            saving.freeze(figure)
    return figure


def steps(axis: Axes) -> list[list[tuple[float, float]]]:
    return [
        list(zip(map(float, line.get_xdata()), map(float, line.get_ydata()), strict=True))
        for line in axis.lines
        if line.get_drawstyle() == "steps-pre"
    ]


def markers(axis: Axes) -> list[tuple[float, float, str, str]]:
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]), to_hex(line.get_markerfacecolor()),
         to_hex(line.get_markeredgecolor()))
        for line in axis.lines
        if line.get_drawstyle() == "default"
    ]  # fmt: skip


def test_a_radius_holds_up_to_its_step(tmp_path: Path) -> None:
    figure = drawn(build_run(tmp_path, SMOOTHED, n=10))
    assert figure is not None
    (axis,) = figure.axes
    end = axis.get_xlim()[1]
    assert end > 0.75
    # Between two places the later one's value is drawn, so that 0.25 itself still has three images.
    assert steps(axis) == [[(0, 30), (0.25, 30), (0.5, 20), (0.75, 10), (end, 0)]]
    blue = to_hex(saving.COLOURS[0])
    assert markers(axis) == [(0.5, 50, blue, blue), (0.25, 80, blue, blue)]
    assert axis.get_title(loc="left") == "a"
    assert axis.get_xlabel() == "radius (L2, images in [0, 1])"
    assert axis.get_ylabel() == "accuracy (%)"
    note = figure.get_supxlabel()
    assert "lower bound" in note
    assert "(alpha 0.05)" in note
    assert "over 10 images" in note
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "smoothing-s0.25",
    ]


def test_what_is_not_complete_is_hollow(tmp_path: Path) -> None:
    failed = Planned(model="a", defense="smoothing-s0.25", threat_model="l2:0.5", attack="cw", status="error", rows=[],
                     reason="x")  # fmt: skip
    figure = drawn(build_run(tmp_path, [*SMOOTHED, failed], n=10))
    assert figure is not None
    blue = to_hex(saving.COLOURS[0])
    assert markers(figure.axes[0]) == [(0.5, 50, "#ffffff", blue), (0.25, 80, blue, blue)]
    assert "hollow: not all attacks are done" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_stochastic_row_has_the_tables_number(tmp_path: Path) -> None:
    planned = [
        Planned(defense="smoothing", threat_model="l2:0.5", correctness={0: 0.25}),
        Planned(defense="smoothing", threat_model="l2:0.5", role="certificate", attack="certified", radii={}),
    ]
    figure = drawn(build_run(tmp_path, planned, n=10))
    assert figure is not None
    ((eps, value, _, _),) = markers(figure.axes[0])
    assert (eps, value) == (0.5, pytest.approx(92.5))
    assert steps(figure.axes[0])[0][0] == (0, 0)
    assert "alpha at most;" in figure.get_supxlabel()


def test_a_panel_per_model_and_a_line_per_defense(tmp_path: Path) -> None:
    planned = [
        Planned(model=model, defense=defense, threat_model="l2:0.5", role=role, attack="x", radii=radii)
        for model in "ab"
        for defense in ("smoothing-s0.25", "smoothing-s0.5")
        for role, radii in (("suite", None), ("certificate", {0: 0.5}))
    ]
    figure = drawn(build_run(tmp_path, [*planned, Planned(model="c", threat_model="l2:0.5")], n=10))
    assert figure is not None
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["a", "b"]
    for axis in figure.axes:
        lines = [line for line in axis.lines if line.get_drawstyle() == "steps-pre"]
        assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 2


def test_files_come_and_go(tmp_path: Path) -> None:
    run = build_run(tmp_path, SMOOTHED, n=10)
    assert {"certified-l2.png", "certified-l2.pdf"} <= {path.name for path in bench.plots.write(run)}
    other = build_run(tmp_path / "other", [Planned(threat_model="l2:0.5")])
    (other.path / "plots").mkdir()
    (other.path / "plots" / "certified-l2.png").write_bytes(b"old")
    bench.plots.write(other)
    assert not (other.path / "plots" / "certified-l2.png").exists()


def test_nothing_certified_makes_no_plot(tmp_path: Path) -> None:
    planned = [Planned(threat_model="l2:0.5"), Planned(defense="jpeg", threat_model="l2:0.5")]
    assert drawn(build_run(tmp_path, planned)) is None
