"""What defenses cost and give: the frames hold the records' numbers, and the plots draw them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from synthetic_run import Planned, build_run

import bench.plots
from bench.plots import clean_cost_vs_robust_gain, restoration, restoration_vs_eps, saving
from bench.store.outcomes import read_outcomes
from bench.store.records import Estimate, Flag
from bench.store.run_directory import RunDirectory

BARE = Planned(model="a", wrong=[0, 1], broken=range(2, 12))
JPEG = Planned(model="a", defense="jpeg-q75", wrong=[0, 3, 4], broken=range(5, 9))


def changes(run: RunDirectory) -> list[restoration.Change]:
    return restoration.changes_of(restoration.changes(read_outcomes(run)))


def costs(run: RunDirectory) -> Figure | None:
    with saving.style():
        return clean_cost_vs_robust_gain.draw(restoration.changes(read_outcomes(run)))


def rates(run: RunDirectory) -> Figure | None:
    with saving.style():
        figure = restoration_vs_eps.draw(restoration.by_eps(read_outcomes(run)))
        if figure is not None:
            saving.freeze(figure)
    return figure


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))]


def markers(axis: Axes) -> dict[str, tuple[float, float, str]]:
    """Place and colour of each point by its marker."""
    return {
        str(line.get_marker()): (float(line.get_xdata()[0]), float(line.get_ydata()[0]), to_hex(line.get_color()))
        for line in axis.lines
        if line.get_marker() not in ("None", None, "")
    }


# -- clean cost against robust gain --------------------------------------------------------------------------------


def test_changes_are_against_the_bare_model_in_points(tmp_path: Path) -> None:
    (change,) = changes(build_run(tmp_path, [BARE, JPEG]))
    assert (change.model, change.defense, change.images, change.status) == ("a", "jpeg-q75", 20, "done")
    assert change.clean == pytest.approx(100 * (17 - 18) / 20)
    assert change.robust == pytest.approx(100 * (13 - 8) / 20)


def test_the_intervals_are_paired(tmp_path: Path) -> None:
    """The same images change, whatever the others do: only pairs that differ widen the interval."""
    n = 400
    bare = Planned(model="a", broken=range(200))
    gain = Planned(model="a", defense="jpeg-q75", broken=range(20, 200))
    (change,) = changes(build_run(tmp_path, [bare, gain], n=n))
    differences = np.r_[np.ones(20), np.zeros(n - 20)]
    half = 100 * 1.96 * differences.std() / math.sqrt(n)
    assert change.robust == pytest.approx(5)
    assert (change.robust_high - change.robust_low) / 2 == pytest.approx(half, rel=0.15)
    assert half < 0.5 * 100 * 1.96 * math.sqrt(2 * 0.25 / n)  # what unpaired proportions would say
    assert (change.clean, change.clean_low, change.clean_high) == (0, 0, 0)


def test_stochastic_defenses_count_by_their_draws(tmp_path: Path) -> None:
    noise = Planned(model="a", defense="random_noise", correctness={0: 0.25, 1: 0.75, 2: 0.5})
    (change,) = changes(build_run(tmp_path, [Planned(model="a", broken=[0]), noise]))
    assert change.robust == pytest.approx(100 * (0.25 - 0.25 - 0.5) / 20)
    assert change.robust_low < change.robust < change.robust_high


def test_each_row_goes_with_its_own_bare_model_and_threat_model(tmp_path: Path) -> None:
    planned = [
        Planned(model=model, defense=defense, threat_model=threat_model, broken=range(broken))
        for model, defense, threat_model, broken in (
            ("a", "none", "linf:8/255", 10),
            ("a", "jpeg-q75", "linf:8/255", 5),
            ("b", "none", "linf:8/255", 2),
            ("b", "jpeg-q75", "linf:8/255", 6),
            ("a", "none", "l2:0.5", 4),
            ("a", "jpeg-q75", "l2:0.5", 1),
            ("b", "jpeg-q75", "l2:0.5", 1),  # no bare row
        )
    ]
    found = {(change.threat_model, change.model): change.robust for change in changes(build_run(tmp_path, planned))}
    assert found == {
        ("Linf 8/255", "a"): pytest.approx(25),
        ("Linf 8/255", "b"): pytest.approx(-20),
        ("L2 0.5", "a"): pytest.approx(15),
    }
    figure = costs(build_run(tmp_path / "again", planned))
    assert figure is not None
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["Linf 8/255", "L2 0.5"]
    assert {"a + jpeg-q75", "b + jpeg-q75", "jpeg-q75"} <= set(texts(figure))  # the last in the legend


def test_bounds_have_no_interval_and_are_hollow(tmp_path: Path) -> None:
    invalid = Flag(rule="zero-gradient", severity="invalid", message="x")
    blur = Planned(model="a", defense="gaussian_blur-s1", broken=range(3), flags=(invalid,))
    run = build_run(tmp_path, [BARE, JPEG, blur])
    jpeg, bound = changes(run)
    assert (jpeg.status, jpeg.sure) == ("done", True)
    assert (bound.status, bound.sure) == ("bound", False)
    assert bound.robust == pytest.approx(100 * (17 - 8) / 20)
    assert math.isfinite(bound.clean_low)
    figure = costs(run)
    assert figure is not None
    (axis,) = figure.axes
    found = markers(axis)
    assert found["o"] == (pytest.approx(-5), pytest.approx(25), to_hex(saving.COLOURS[0]))
    assert found["s"] == (pytest.approx(10), pytest.approx(45), "#ffffff")
    assert {"jpeg-q75", "gaussian_blur-s1 ⚑", "at most: not complete", "no change"} <= set(texts(figure))
    (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
    assert left < 0 < right
    assert low < 0 < high
    assert "over 20 images" in figure.get_supxlabel()


@pytest.mark.parametrize(
    "planned",
    [
        [JPEG],  # no bare row
        [BARE],
        [Planned(model="b", broken=[1]), JPEG],  # another model's
        [Planned(model="a", status="error", reason="x", rows=range(20)), JPEG],
        [BARE, Planned(model="a", defense="jpeg-q75", status="unavailable", reason="x", rows=[])],
        [BARE, Planned(model="a", defense="jpeg-q75", recorded=False, rows=range(5))],
    ],
)
def test_without_both_rows_there_is_no_change(tmp_path: Path, planned: list[Planned]) -> None:
    run = build_run(tmp_path, planned)
    assert changes(run) == []
    assert costs(run) is None


def test_one_image_has_no_interval(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(model="a", broken=[0]), Planned(model="a", defense="jpeg-q75")], n=1)
    (change,) = changes(run)
    assert (change.robust, change.sure) == (100, False)
    figure = costs(run)
    assert figure is not None
    assert "over 1 image" in figure.get_supxlabel()


def test_many_rows_get_numbers_and_a_key(tmp_path: Path) -> None:
    defended = [Planned(model="a", defense=f"jpeg-q{i}", broken=range(i)) for i in range(14)]
    figure = costs(build_run(tmp_path, [BARE, *defended]))
    assert figure is not None
    shown = texts(figure)
    assert {f"jpeg-q{i}" for i in range(14)} <= set(shown)
    for number in range(1, 15):
        assert shown.count(str(number)) >= 2


# -- restoration against eps ---------------------------------------------------------------------------------------


def oblivious(rate: float | None, eps: int, n: int = 50, **more: object) -> Planned:
    estimate = Estimate(value=rate, n=0) if rate is None else Estimate(value=rate, low=rate - 0.1, high=rate + 0.1, n=n)
    planned = {"model": "a", "defense": "jpeg-q75", "attack": "pgd-20", **more}
    return Planned(
        role="oblivious", adversary="oblivious", threat_model=f"linf:{eps}/255", metrics={restoration.RATE: estimate},
        **planned,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_line_per_defense_and_the_lowest_rate_over_the_attacks(tmp_path: Path) -> None:
    planned = [
        oblivious(0.5, 8, n=60),
        oblivious(0.9, 2, n=40),
        oblivious(0.8, 2, attack="fgsm", n=30),
        oblivious(0.7, 8, attack="fgsm"),
        oblivious(0.3, 2, defense="gaussian_blur-s1"),
        oblivious(0.2, 8, defense="gaussian_blur-s1"),
        Planned(model="a", defense="jpeg-q75", threat_model="linf:2/255", metrics={restoration.RATE: Estimate(value=0, n=9)}),
    ]  # fmt: skip
    run = build_run(tmp_path, planned)
    lines = restoration.restored_of(restoration.by_eps(read_outcomes(run)))
    jpeg = [line for line in lines if line.defense == "jpeg-q75"]
    assert [(line.eps, line.attack, line.images) for line in jpeg] == [(2 / 255, "fgsm", 30), (8 / 255, "pgd-20", 60)]
    assert [(line.value, line.low, line.high) for line in jpeg] == [
        pytest.approx((80, 70, 90)),
        pytest.approx((50, 40, 60)),
    ]
    figure = rates(run)
    assert figure is not None
    (axis,) = figure.axes
    drawn = {tuple(np.round(line.get_ydata(), 6)): line for line in axis.lines}
    assert set(drawn) == {(80, 50), (30, 20)}
    width = np.subtract(*axis.get_xlim()[::-1])
    for line in drawn.values():
        assert line.get_xdata() == pytest.approx([2 / 255, 8 / 255], abs=0.02 * width)
    assert len({(line.get_linestyle(), line.get_marker()) for line in drawn.values()}) == 2  # told apart in grey
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "2/255", "8/255"]
    assert axis.get_title(loc="left") == "a"
    assert {"jpeg-q75", "gaussian_blur-s1"} <= set(texts(figure))
    assert "over 30 to 60 examples" in figure.get_supxlabel()


def test_a_panel_per_model_and_norm(tmp_path: Path) -> None:
    planned = [oblivious(0.5, eps, model=model) for model in "ab" for eps in (2, 8)]
    planned.append(oblivious(0.5, 2, model="c"))  # at one eps only
    figure = rates(build_run(tmp_path, planned))
    assert figure is not None
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["a", "b"]


@pytest.mark.parametrize(
    "second",
    [
        oblivious(0.5, 2, attack="fgsm"),  # the same eps
        oblivious(None, 8),  # nothing fools the bare model
        oblivious(0.5, 8, status="error", reason="x"),
        oblivious(0.5, 8, flags=(Flag(rule="x", severity="invalid", message="x"),)),
        Planned(model="a", defense="jpeg-q75", role="oblivious", adversary="oblivious"),  # the suite has other metrics
    ],
)
def test_one_eps_makes_no_line(tmp_path: Path, second: Planned) -> None:
    assert rates(build_run(tmp_path, [oblivious(0.5, 2), second])) is None


# -- files ---------------------------------------------------------------------------------------------------------


def test_both_are_written_where_there_is_something_to_show(tmp_path: Path) -> None:
    planned = [
        *(Planned(model="a", threat_model=f"linf:{eps}/255", broken=range(eps)) for eps in (2, 8)),
        *(oblivious(0.5, eps, broken=range(eps - 1)) for eps in (2, 8)),
    ]
    both = {f"{name}.{kind}" for name in ("clean_cost_vs_robust_gain", "restoration_vs_eps") for kind in ("png", "pdf")}
    assert both <= {path.name for path in bench.plots.write(build_run(tmp_path, planned))}
    other = build_run(tmp_path / "other", [BARE])
    (other.path / "plots").mkdir()
    for name in both:
        (other.path / "plots" / name).write_bytes(b"old")
    assert not both & {path.name for path in bench.plots.write(other)}
    assert not both & {path.name for path in (other.path / "plots").iterdir()}
