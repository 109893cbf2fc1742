"""Plots mark the rows whose numbers something speaks against, and draw as a bound what is only known to be one."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from synthetic_run import Planned, build_run

from bench.plots import (
    accuracy_vs_eps,
    certified,
    clean_cost_vs_robust_gain,
    clean_vs_robust,
    curves,
    frames,
    passes,
    restoration,
    restoration_vs_eps,
    robust_accuracy,
    saving,
    staircases,
)
from bench.plots.panels import FLAG, FLAGGED, looks
from bench.store.audit import AuditRecord, Finding
from bench.store.outcomes import RowOutcome, read_outcomes
from bench.store.records import Estimate, Flag
from bench.store.run_directory import RunDirectory

WARNING = Flag(rule="w", severity="warning", message="x")
INVALID = Flag(rule="i", severity="invalid", message="x")
INFO = Flag(rule="n", severity="info", message="x")
TWO_EPS = ("linf:2/255", "linf:8/255")


def drawn(draw: Callable[[], Figure | None]) -> Figure:
    with saving.style():
        figure = draw()
        assert figure is not None
        saving.freeze(figure)
    return figure


def from_points(module: object, run: RunDirectory) -> Figure:
    return drawn(lambda: module.draw(frames.accuracy(read_outcomes(run))))  # type: ignore[attr-defined,no-any-return]


def from_steps(module: object, run: RunDirectory, panel: str) -> Figure:
    outcome = read_outcomes(run)
    points = frames.points(frames.accuracy(outcome))
    frame = (staircases.distances if module is curves else staircases.passes)(outcome, points)
    return drawn(lambda: module.draw(frame[frame["panel"] == panel], looks(points, frame["series"])))  # type: ignore[attr-defined,no-any-return]


def texts(where: Figure | Axes) -> list[str]:
    return [text.get_text() for text in where.findobj(match=lambda artist: hasattr(artist, "get_text"))]


def marks(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts if text.get_text() == FLAG]


def test_the_embedded_font_has_the_symbols() -> None:
    font = FT2Font(font_manager.findfont("DejaVu Sans", fallback_to_default=False))
    assert {ord(symbol) for symbol in f"{FLAG}≤"} <= set(font.get_charmap())


# -- which rows ----------------------------------------------------------------------------------------------------


def only(path: Path, *planned: Planned) -> RowOutcome:
    (row,) = read_outcomes(build_run(path, planned)).rows
    return row


@pytest.mark.parametrize(
    ("planned", "expected"),
    [
        (Planned(), False),
        (Planned(flags=(INFO,)), False),
        (Planned(flags=(WARNING,)), True),
        (Planned(flags=(INVALID,)), True),
        (Planned(status="error", reason="x", rows=[]), True),
        (Planned(recorded=False, rows=range(4)), True),
    ],
)
def test_warnings_failures_and_gaps_are_marked(tmp_path: Path, planned: Planned, expected: bool) -> None:
    assert frames.flagged(only(tmp_path, planned, Planned(attack="fgsm"))) is expected


@pytest.mark.parametrize(("severity", "expected"), [("info", False), ("warning", True), ("invalid", True)])
@pytest.mark.parametrize("of_cell", [False, True])
def test_what_the_audit_found_is_marked(tmp_path: Path, severity: str, expected: bool, of_cell: bool) -> None:
    run = build_run(tmp_path, [Planned(model="a"), Planned(model="b")])
    cells = run.read_run().cells[:1] if of_cell else ()
    finding = Finding(
        rule="r", severity=severity, message="x", cells=cells, model="a", defense="none", threat_model="linf:8/255"
    )  # type: ignore[arg-type]
    run.write_audit(AuditRecord(made="", samples=0, cells={}, rules=(), findings=(finding,)))
    a, b = read_outcomes(run).rows
    assert (frames.flagged(a), frames.flagged(b)) == (expected, False)


# -- beside the labels ---------------------------------------------------------------------------------------------


def test_bars_have_the_flag_beside_the_name(tmp_path: Path) -> None:
    planned = [Planned(model="a", flags=(WARNING,)), Planned(model="b", broken=[0])]
    figure = from_points(robust_accuracy, build_run(tmp_path, planned))
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a ⚑", "b"]
    assert figure.get_supxlabel().splitlines()[-1] == FLAGGED == "⚑ flagged: see the notes under the table"
    assert marks(axis) == []


def test_without_flags_nothing_is_said(tmp_path: Path) -> None:
    planned = [Planned(model="a", flags=(INFO,)), Planned(model="b", broken=[0])]
    for module in (robust_accuracy, clean_vs_robust):
        figure = from_points(module, build_run(tmp_path / module.__name__, planned))
        assert not [text for text in texts(figure) if FLAG in text]


def test_a_row_that_is_flagged_in_one_panel_has_the_flag_there(tmp_path: Path) -> None:
    planned = [
        Planned(model="a", threat_model=TWO_EPS[0], flags=(WARNING,)),
        Planned(model="a", threat_model=TWO_EPS[1]),
        *(Planned(model="b", threat_model=t, broken=[1], flags=(WARNING,)) for t in TWO_EPS),
    ]
    figure = from_points(robust_accuracy, build_run(tmp_path, planned))
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b ⚑"]
    assert (marks(first), marks(second)) == ([FLAG], [])
    boxes = [text.get_window_extent() for axis in figure.axes for text in axis.texts]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)


def test_an_invalid_attack_is_a_hollow_bar(tmp_path: Path) -> None:
    planned = [Planned(attack="fgsm", broken=range(4), flags=(INVALID,)), Planned(broken=range(8))]
    figure = from_points(robust_accuracy, build_run(tmp_path, planned))
    (axis,) = figure.axes
    faces = {round(bar.get_width()): to_hex(bar.get_facecolor()) for bar in axis.patches if bar.get_width() > 1}
    assert faces == {80: "#ffffff", 60: "#ffffff"}  # fgsm; the worst case, drawn after pgd-20 at the same place
    assert [text.get_text() for text in axis.texts].count("≤") == 2
    assert len([line for line in axis.lines if len(set(line.get_ydata())) == 1]) == 1  # pgd-20 alone has an interval


def test_points_have_the_flag_beside_the_name(tmp_path: Path) -> None:
    planned = [
        Planned(model="a", flags=(WARNING,)),
        Planned(model="b", broken=[0, 1, 2]),
        Planned(model="c", broken=range(7)),
        Planned(model="c", attack="fgsm", status="error", reason="x", rows=[]),
    ]
    figure = from_points(clean_vs_robust, build_run(tmp_path, planned))
    assert {"a ⚑", "b", "c ⚑"} <= set(texts(figure))
    assert FLAGGED in figure.get_supxlabel()


def test_numbers_have_the_flag_too(tmp_path: Path) -> None:
    planned = [Planned(model=f"m{i:02d}", broken=range(i), flags=(WARNING,) if i == 1 else ()) for i in range(14)]
    figure = from_points(clean_vs_robust, build_run(tmp_path, planned))
    assert "2 ⚑" in texts(figure)
    named = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent() for text in named]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_curves_against_eps_have_the_flag_and_hollow_markers(tmp_path: Path) -> None:
    planned = [
        Planned(model=model, attack=attack, threat_model=t, broken=range(4),
                flags=(INVALID,) if (model, attack, t) == ("a", "fgsm", TWO_EPS[1]) else ())
        for model in "ab" for attack in ("fgsm", "pgd-20") for t in TWO_EPS
    ]  # fmt: skip
    figure = from_points(accuracy_vs_eps, build_run(tmp_path, planned))
    overview, *details = figure.axes
    assert {"a ⚑", "b"} <= {text.get_text() for text in overview.texts}
    assert {axis.get_title(loc="left") for axis in details} == {"a ⚑", "b"}
    hollow = [
        (round(255 * float(line.get_xdata()[0])), float(line.get_ydata()[0]))
        for line in overview.lines
        if to_hex(line.get_markerfacecolor()) == "#ffffff"
    ]
    assert hollow == [(8, 80.0)]
    assert "hollow: at most that" in figure.get_supxlabel()


def test_staircases_have_the_flag_beside_the_name(tmp_path: Path) -> None:
    near = {"search": "strongest", "distances": {0: 0.25, 1: 1.0}, "threat_model": "l2:0.5"}
    planned = [
        Planned(model="a", attack="fmn-100", flags=(WARNING,), **near),  # type: ignore[arg-type]
        Planned(model="b", attack="fmn-100", **near),  # type: ignore[arg-type]
        Planned(model="a", threat_model="l2:0.5"),
        Planned(model="b", threat_model="l2:0.5"),
    ]
    run = build_run(tmp_path, planned)
    against_eps, against_passes = from_steps(curves, run, "l2"), from_steps(passes, run, "L2 0.5")
    overview, *details = against_eps.axes
    assert [text.get_text() for text in overview.get_legend().get_texts()] == ["a ⚑", "b"]
    assert [axis.get_title(loc="left") for axis in details] == ["a ⚑", "b"]
    assert [axis.get_title(loc="left") for axis in against_passes.axes] == ["a | L2 0.5 ⚑", "b | L2 0.5"]
    for figure in (against_eps, against_passes):
        assert figure.get_supxlabel().endswith(FLAGGED)


@pytest.mark.parametrize(("bare", "own"), [((WARNING,), ()), ((), (WARNING,)), ((), ())])
def test_changes_are_flagged_where_either_row_is(tmp_path: Path, bare: tuple[Flag, ...], own: tuple[Flag, ...]) -> None:
    run = build_run(tmp_path, [Planned(flags=bare, broken=range(6)), Planned(defense="jpeg-q75", flags=own)])
    figure = drawn(lambda: clean_cost_vs_robust_gain.draw(restoration.changes(read_outcomes(run))))
    expected = bool(bare or own)
    assert ("jpeg-q75 ⚑" in texts(figure)) is expected
    assert ("jpeg-q75" in texts(figure)) is not expected
    assert (FLAGGED in figure.get_supxlabel()) is expected


def test_rates_are_flagged_at_their_eps(tmp_path: Path) -> None:
    planned = [
        Planned(role="oblivious", adversary="oblivious", defense="jpeg-q75", threat_model=t, flags=flags,
                metrics={restoration.RATE: Estimate(value=0.5, low=0.4, high=0.6, n=50)})
        for t, flags in zip(TWO_EPS, ((), (WARNING,)), strict=True)
    ]  # fmt: skip
    run = build_run(tmp_path, planned)
    figure = drawn(lambda: restoration_vs_eps.draw(restoration.by_eps(read_outcomes(run))))
    (axis,) = figure.axes
    (mark,) = [text for text in axis.texts if text.get_text() == FLAG]
    assert mark.xy == (pytest.approx(8 / 255), pytest.approx(50))
    assert figure.get_supxlabel().endswith(FLAGGED)


def test_markers_beside_certificates_are_flagged(tmp_path: Path) -> None:
    planned = [
        Planned(defense="smoothing", threat_model=t, role=role, attack="x", radii=radii, broken=range(4), flags=flags)
        for t, flags in (("l2:0.25", ()), ("l2:0.5", (WARNING,)))
        for role, radii in (("suite", None), ("certificate", {19: 0.6}))
    ]
    run = build_run(tmp_path, planned)
    figure = drawn(lambda: certified.draw(certified.places(read_outcomes(run))))
    (axis,) = figure.axes
    (mark,) = [text for text in axis.texts if text.get_text() == FLAG]
    assert mark.xy == (0.5, pytest.approx(80))
    assert figure.get_supxlabel().endswith(FLAGGED)
