"""Curves from records: up to where each sample holds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from synthetic_run import Planned, build_run

from bench.store.curves import Curve, distance_curves, pass_curves, union
from bench.store.outcomes import RunOutcome, read_outcomes
from bench.store.records import Flag
from bench.suites.spec import ThreatModelSpec


def outcome(path: Path, *planned: Planned, n: int = 4) -> RunOutcome:
    return read_outcomes(build_run(path, planned, n=n, clean=False))


def near(attack: str = "fmn-100", search: str = "strongest", **more: object) -> Planned:
    planned = {"distances": {0: 0.1, 1: 0.5}, "wrong": [3], "broken": [0], **more}
    return Planned(attack=attack, search=search, threat_model="l2:0.25", **planned)  # type: ignore[arg-type]


def test_a_curve_steps_where_samples_stop_holding(tmp_path: Path) -> None:
    (curve,) = distance_curves(outcome(tmp_path, near()))
    assert (curve.model, curve.defense, curve.attack, curve.threat_model.norm) == ("model-a", "none", "fmn-100", "l2")
    assert curve.holds.tolist() == [0.1, 0.5, math.inf, 0.0]
    assert curve.places() == [0.0, 0.1, 0.5]
    levels = curve.at([0.0, 0.0999, 0.1, 0.25, 0.5, 9.0])
    assert [level.robust_accuracy for level in levels] == [0.75, 0.75, 0.5, 0.5, 0.25, 0.25]
    reference = stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert (levels[3].low, levels[3].high) == pytest.approx((reference.low, reference.high))


def test_the_nearest_over_seeds_and_radii_counts(tmp_path: Path) -> None:
    seeds = [near(), near(seed=1, distances={0: 0.2, 1: 0.3, 2: 2.0})]
    larger = Planned(attack="fmn-100", search="strongest", threat_model="l2:1", wrong=[3], distances={1: 0.4, 2: 1.5})
    other = Planned(attack="fmn-100", search="strongest", threat_model="linf:0.1", distances={0: 0.05})
    l2, linf = distance_curves(outcome(tmp_path, *seeds, larger, other))
    assert l2.holds.tolist() == [0.1, 0.3, 1.5, 0.0]
    assert linf.holds.tolist() == [0.05, math.inf, math.inf, math.inf]
    assert union([l2, linf], "both").holds.tolist() == [0.05, 0.3, 1.5, 0.0]


@pytest.mark.parametrize(
    "cell",
    [
        near(search="first_success"),
        near(distances=None),
        near(status="error", reason="x"),
        near(recorded=False),
        near(rows=[0, 1]),
        near(flags=(Flag(rule="zero-gradient", severity="invalid", message="x"),)),
    ],
    ids=["first_success", "fixed eps", "error", "unfinished", "partial", "invalid"],
)
def test_no_curve_from_what_does_not_tell(tmp_path: Path, cell: Planned) -> None:
    assert [curve.attack for curve in distance_curves(outcome(tmp_path, cell, near("ddn-100")))] == ["ddn-100"]


def test_the_cells_that_make_examples_give_a_curve_too(tmp_path: Path) -> None:
    made = outcome(tmp_path, near("fgsm", search="first_success"), near(role="prerequisite"))
    assert [(curve.attack, curve.role) for curve in distance_curves(made)] == [("fmn-100", "prerequisite")]


def test_passes_are_those_until_the_first_success(tmp_path: Path) -> None:
    first = Planned(attack="pgd-20", broken=[0], wrong=[3], passes={0: 2, 1: 20, 2: 20, 3: 0})
    again = Planned(attack="pgd-20", broken=[0, 1], wrong=[3], passes={0: 3, 1: 5, 2: 20, 3: 0}, seed=1)
    (curve,) = pass_curves(outcome(tmp_path, again, first))
    assert curve.holds.tolist() == [4, 40 + 10, math.inf, 0]
    assert curve.end == 80
    assert [level.robust_accuracy for level in curve.at([1, 4, 49, 50, 80])] == [0.75, 0.5, 0.5, 0.25, 0.25]


def test_passes_that_do_not_tell_are_left_out(tmp_path: Path) -> None:
    cells = [
        Planned(attack="pgd-20", backend="bench"),
        Planned(attack="pgd-20-foolbox", backend="foolbox"),
        Planned(attack="apgd-100", search="strongest"),
        Planned(attack="fgsm", status="error", reason="x"),
        Planned(attack="square", role="gradient_free", defense="jpeg-q75"),
        Planned(attack="pgd-20", role="oblivious", adversary="oblivious", defense="jpeg-q75", search="strongest"),
    ]
    curves = pass_curves(outcome(tmp_path, *cells))
    assert [(curve.label, curve.attack) for curve in curves] == [
        ("model-a", "pgd-20"),
        ("model-a + jpeg-q75", "square"),
    ]


@given(st.lists(st.one_of(st.just(math.inf), st.floats(0, 2)), min_size=1, max_size=40))
def test_a_curve_counts_the_samples_that_hold_and_never_rises(holds: list[float]) -> None:
    ball = ThreatModelSpec.model_validate("l2:1")
    curve = Curve("m", "none", "m", ball, "fmn", "suite", np.array(holds), math.inf)
    places = curve.places(most=5)
    levels = curve.at(places)
    assert places[0] == 0
    assert len(places) <= 6
    for x, level in zip(places, levels, strict=True):
        assert level.robust_accuracy == sum(hold > x for hold in holds) / len(holds)
        assert level.low <= level.robust_accuracy <= level.high
    values = [level.robust_accuracy for level in levels]
    assert values == sorted(values, reverse=True)
    assert values[-1] == sum(math.isinf(hold) for hold in holds) / len(holds)
