"""Attacks of one group beside each other: where they differ, and by how much."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from bench.errors import SuiteError
from bench.leaderboard import text, write
from bench.leaderboard.agreement import agreement
from bench.runner.run import RunSummary
from bench.stats import mcnemar
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory

Run = Callable[..., RunSummary]
WEAK = """
import torch
from bench.attacks.base import Attack, AttackResult


class Weak(Attack):
    norms = ("linf",)

    def run(self, model, samples, context):
        model(samples.x)
        return AttackResult.untouched(samples)


class Raises(Attack):
    norms = ("linf",)

    def run(self, model, samples, context):
        raise KeyError("step 7")


ATTACKS = {"weak": Weak, "raises": Raises}
"""
ATTACKS = (
    "{id: ours, name: fgsm, group: fgsm}, {id: foolbox, name: foolbox.LinfFastGradientAttack, group: fgsm}, "
    "{id: weak, name: weak, group: fgsm}, {id: raises, name: raises, group: fgsm}, "
    "{id: fmn, name: fmn, steps: 20, search: strongest, group: fmn}, "
    "{id: fmn-foolbox, name: foolbox.LInfFMNAttack, steps: 20, group: fmn}, {id: alone, name: pgd, group: pgd}, bim"
)


@pytest.fixture
def summary(plugged: Run) -> RunSummary:
    return plugged(WEAK, attacks=ATTACKS, samples=20)


def test_each_stands_beside_the_first_of_its_group(summary: RunSummary) -> None:
    run = RunDirectory(summary.directory)
    outcome = read_outcomes(run)
    lines = {line.attack: line for line in agreement(outcome)}
    assert list(lines) == ["ours", "foolbox", "weak", "raises", "fmn", "fmn-foolbox"], (
        "of a group of one there is nothing to say"
    )
    assert [name for name, line in lines.items() if line.reference] == ["ours", "fmn"]
    frames = {result.attack_id: run.read_samples(result.cell) for result in summary.results if result.status == "done"}
    for name, first in {"foolbox": "ours", "weak": "ours", "fmn-foolbox": "fmn"}.items():
        mine, other = (frames[one]["robust"].to_numpy(bool) for one in (name, first))
        line = lines[name]
        assert (line.more, line.less) == (int((other & ~mine).sum()), int((mine & ~other).sum()))
        assert line.p == pytest.approx(mcnemar(mine, other))
        assert line.robust is not None
        assert line.robust.value == pytest.approx(mine.mean())
        assert line.forwards == pytest.approx(frames[name]["forwards"].mean())
    assert (lines["foolbox"].more, lines["foolbox"].less) == (0, 0), "one step along the same gradient"
    assert (lines["weak"].less or 0) > 6
    assert (lines["weak"].p_holm or 0) < 0.05 <= (lines["foolbox"].p_holm or 0)
    assert lines["weak"].p_holm is not None
    assert (lines["raises"].status, lines["raises"].robust, lines["raises"].more) == ("error", None, None)
    correct = frames["fmn"]["clean_correct"].to_numpy(bool)
    for name in ("fmn", "fmn-foolbox"):
        assert lines[name].median_distance == pytest.approx(np.median(frames[name]["minimal_distance"][correct]))
    assert lines["ours"].median_distance is None


def test_what_is_written_and_printed(summary: RunSummary, plugged: Run) -> None:
    run = RunDirectory(summary.directory)
    shown = text(run, width=150)
    assert "Agreement of libraries" in shown
    (weak,) = [line for line in shown.splitlines() if " fgsm " in line and " weak " in line]
    assert "≠" in weak
    (raises,) = [line for line in shown.splitlines() if " fgsm " in line and " raises " in line]
    assert "error" in raises
    write(run)
    markdown = (summary.directory / "leaderboard.md").read_text(encoding="utf-8")
    assert "## Agreement of libraries" in markdown
    frame = pd.read_csv(summary.directory / "agreement.csv")
    assert list(frame["attack"]) == ["ours", "foolbox", "weak", "raises", "fmn", "fmn-foolbox"]
    assert frame["robust_accuracy"].isna().tolist() == [False, False, False, True, False, False]

    without = plugged(WEAK, attacks="{id: ours, name: fgsm}", samples=20)
    write(RunDirectory(without.directory))
    assert not (without.directory / "agreement.csv").exists()
    assert "Agreement" not in text(RunDirectory(without.directory))


def test_a_group_is_no_part_of_an_identity(plugged: Run) -> None:
    cells = {
        plugged(WEAK, attacks=f"{{id: a, name: fgsm{group}}}", samples=5).results[0].cell
        for group in ("", ", group: one", ", group: two")
    }
    assert len(cells) == 1
    with pytest.raises(SuiteError, match="group"):
        plugged(WEAK, attacks="{id: a, name: fgsm, group: ''}", samples=5)
