"""Success against queries: what black-box attacks asked before they broke an image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from bench import plots
from bench.leaderboard import write
from bench.runner.run import RunSummary
from bench.store.curves import query_curves
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory

Run = Callable[..., RunSummary]
NOTHING = "METRICS = {}\nATTACKS = {'other': object}"
ATTACKS = (
    "{id: ours, name: square, n_queries: 150}, {id: art, name: art.SquareAttack, max_iter: 150, max_queries: 150}, "
    "{id: decision, name: art.HopSkipJump, max_queries: 150}, {id: late, name: square, n_queries: 100, search: strongest}, fgsm"
)


def test_curves_start_at_nothing_and_end_at_the_success_rate(plugged: Run) -> None:
    run = RunDirectory(plugged(NOTHING, attacks=ATTACKS, threat_model="linf:0.25", samples=12).directory)
    outcome = read_outcomes(run)
    curves = {curve.attack: curve for curve in query_curves(outcome)}
    assert list(curves) == ["ours", "art", "decision"], "strongest never stops; fgsm asks for gradients"
    cells = {cell.attack: cell for cell in outcome.rows[0].cells}
    for name, curve in curves.items():
        frame = run.read_samples(cells[name].id)
        right = frame[frame["clean_correct"]]
        assert curve.end == 150
        assert len(curve.holds) == len(right)
        for budget in (0, 1, 40, 150):
            asked = right["success"] & (right["queries"] <= budget)
            assert np.isclose(1 - curve.at([budget])[0].robust_accuracy, asked.mean())
        assert (right["queries"][right["success"]].between(1, 150)).all()
        assert (right["queries"][~right["success"]] == 0).all()
    ours = run.read_samples(cells["ours"].id)
    assert (ours["queries"] == ours["forwards"].where(ours["success"], 0)).all()
    assert 1 - curves["ours"].at([150])[0].robust_accuracy > 0.5

    write(run)
    table = pd.read_csv(run.path / "queries.csv")
    assert set(table["attack"]) == {"ours", "art", "decision"}
    for name, lines in table.groupby("attack"):
        assert lines["queries"].is_monotonic_increasing
        assert lines["attack_success_rate"].is_monotonic_increasing
        frame = run.read_samples(cells[str(name)].id)
        assert np.isclose(lines["attack_success_rate"].iloc[-1], frame["success"].sum() / frame["clean_correct"].sum())
        assert (lines["low"] <= lines["attack_success_rate"]).all()
        assert (lines["attack_success_rate"] <= lines["high"]).all()
    names = [path.name for path in plots.write(run)]
    assert "queries-linf-0.25.png" in names


def test_what_a_smaller_eps_broke_is_in_no_curve(plugged: Run) -> None:
    summary = plugged(
        NOTHING, attacks="{id: ours, name: square, n_queries: 150}", threat_model="{norm: linf, eps: [0.2, 0.3]}"
    )
    outcome = read_outcomes(RunDirectory(summary.directory))
    assert [curve.threat_model.label for curve in query_curves(outcome)] == ["Linf 0.2"]
    write(RunDirectory(summary.directory))
