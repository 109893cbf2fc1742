"""Libraries' attacks in a suite: judged like any other, against defenses too, and what goes wrong is an error cell."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from bench.errors import SuiteError
from bench.runner.run import RunSummary
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory

Run = Callable[..., RunSummary]
NOTHING = "METRICS = {}\nATTACKS = {'other': object}"


def cell(summary: RunSummary, attack: str, **where: str) -> CellResult:
    found = [
        result
        for result in summary.results
        if result.attack_id == attack
        and all(getattr(result, key) == value for key, value in {"role": "suite", **where}.items())
    ]
    assert len(found) == 1
    return found[0]


def rows(summary: RunSummary, result: CellResult) -> pd.DataFrame:
    return RunDirectory(summary.directory).read_samples(result.cell)


def test_each_library_is_judged_like_any_other(plugged: Run) -> None:
    attacks = (
        "{id: a, name: foolbox.LinfDeepFoolAttack, args: {steps: 30}}, {id: b, name: art.BasicIterativeMethod, max_iter: 20}, "
        "{id: c, name: art.SquareAttack, max_iter: 40, max_queries: 60}, {id: own, name: pgd}"
    )
    summary = plugged(NOTHING, attacks=attacks)
    own = rows(summary, cell(summary, "own"))
    for name in "abc":
        result = cell(summary, name)
        assert result.status == "done", result.traceback
        frame = rows(summary, result)
        assert (frame["linf"] <= 0.1501).all()
        assert set(frame["clean_correct"]) == set(own["clean_correct"])
        assert frame["robust"].mean() <= own["robust"].mean() + (0.2 if name in "ab" else 1)
    counted = rows(summary, cell(summary, "c"))
    assert (counted["queries"] <= 60).all()
    assert ((counted["queries"] > 0) == counted["success"])[counted["clean_correct"]].all()
    assert set(own["queries"]) == {-1}


def test_defenses_are_attacked_through_bpda_and_eot(plugged: Run) -> None:
    summary = plugged(
        NOTHING,
        attacks="{id: a, name: foolbox.LinfPGD, steps: 10}, {id: b, name: art.ProjectedGradientDescentPyTorch, max_iter: 10}",
        defenses="{name: bit_depth, bits: 3}, {name: random_noise, std: 0.1}",
        threat_model="linf:0.25",
    )
    for result in summary.results:
        if result.role != "suite":
            continue
        assert result.status == "done", result.traceback
        assert rows(summary, result)["success"].mean() > 0.5, "bit depth has no gradient of its own"
        rules = {flag.rule for flag in result.flags}
        assert "no-eot" not in rules
        assert ("eot-convergence" in rules) <= (result.defense.name == "random_noise")
    noisy = [result for result in summary.results if result.defense.name == "random_noise" and result.attack_id == "a"]
    assert any("EOT over" in flag.message for result in noisy for flag in result.flags)


BAD = """
import time
import torch
from bench.attacks.base import Attack, AttackResult


class Hangs(Attack):
    norms = ("linf",)

    def run(self, model, samples, context):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass


class Raises(Attack):
    norms = ("linf",)

    def run(self, model, samples, context):
        raise KeyError("step 7")


ATTACKS = {"hangs": Hangs, "raises": Raises}
"""


def test_what_hangs_raises_or_leaves_the_ball_is_an_error_and_the_suite_goes_on(plugged: Run) -> None:
    summary = plugged(
        BAD,
        attacks="{name: hangs, time_limit: 0.05}, raises, {id: leaves, name: foolbox.LinfAdditiveUniformNoiseAttack}, "
        "{id: late, name: foolbox.LinfPGD, time_limit: 0.0001}, {id: fine, name: foolbox.LinfPGD, steps: 5, time_limit: 60}",
    )
    assert cell(summary, "fine").status == "done"
    for name, reason in {
        "hangs": "hangs took longer than its time limit of 0.3 s for this shard",
        "raises": "step 7",
        "leaves": "the attack left the threat model",
        "late": "late took longer than its time limit",
    }.items():
        result = cell(summary, name)
        assert result.status == "error", name
        assert reason in result.reason, result.reason
        assert not result.metrics


def test_the_limit_of_the_run_is_every_attacks_and_no_part_of_an_identity(plugged: Run) -> None:
    without = plugged(NOTHING, attacks="{id: a, name: foolbox.LinfFastGradientAttack}", samples=5)
    limited = plugged(NOTHING, attacks="{id: a, name: foolbox.LinfFastGradientAttack, time_limit: 99}", samples=5)
    assert cell(without, "a").cell == cell(limited, "a").cell
    assert cell(without, "a").attack.time_limit is None


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        ("{name: art.HopSkipJump, norm: 2}", r"unknown parameter 'norm' of the attack art\.HopSkipJump, got 2"),
        ("{name: foolbox.LinfPGD, steps: 2.5}", "wrong type, got 2.5"),
        ("{name: foolbox.LinfDeepFoolAttack, loss: mse}", "wrong value, got 'mse'"),
        ("{name: art.DPatch}", r"the attack art\.DPatch can't be used here: it attacks object detectors"),
        ("{name: foolbox.DDNAttack}", r"the attack foolbox\.DDNAttack works under l2 only"),
        ("{name: foolbox.VirtualAdversarialAttack}", "'steps' of the attack .* is missing"),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(plugged: Run, attack: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        plugged(NOTHING, attacks=attack)


# -- behind a detector -------------------------------------------------------------------------------------------------


def test_a_detector_is_attacked_together_with_its_classifier(plugged: Run) -> None:
    """The naive adversary sees the classifier alone: the detector rejects most of what it finds."""
    attacks = (
        "{id: foolbox, name: foolbox.LinfPGD, steps: 20}, "
        "{id: official, name: autoattack, backend: autoattack, version: custom, attacks: [apgd-ce]}"
    )
    summary = plugged(
        NOTHING,
        attacks=attacks,
        defenses="{name: auxiliary_head, eps: 0.2}",
        adversaries="naive, adaptive",
        threat_model="linf:0.2",
        samples=10,
        more="calibration: {name: mnist, split: train, samples: 120}",
    )
    for name in ("foolbox", "official"):
        knowing, naive = cell(summary, name), cell(summary, name, role="naive")
        assert (knowing.status, naive.status) == ("done", "done"), knowing.traceback or naive.traceback
        through, caught = rows(summary, knowing), rows(summary, naive)
        assert not (through["success"] & through["rejected"]).any()
        assert caught["success"].sum() <= through["success"].sum() - 2
        assert caught["rejected"].sum() > through["rejected"].sum()


def test_scores_and_decisions_say_whether_the_detector_accepts(plugged: Run) -> None:
    attacks = (
        "{id: decisions, name: art.HopSkipJump, max_iter: 4, max_eval: 40, init_eval: 10, max_queries: 200}, "
        "{id: foolbox, name: foolbox.LinearSearchBlendedUniformNoiseAttack, directions: 20, steps: 20}, "
        "{id: scores, name: square, backend: autoattack, n_queries: 40}"
    )
    summary = plugged(
        NOTHING,
        attacks=attacks,
        defenses="{id: squeezing, name: feature_squeezing, bits: 3}",
        threat_model="linf:0.45",
        samples=6,
    )
    for name in ("decisions", "foolbox", "scores"):
        result = cell(summary, name)
        assert result.status == "done", result.traceback
        frame = rows(summary, result)
        assert frame["success"].any()
        assert not (frame["success"] & frame["rejected"]).any()
