"""What the probes run in the place of a row's strongest attack."""

from __future__ import annotations

import pytest

from bench import registry
from bench.runner.probing.variants import variants
from bench.suites.naming import with_defaults
from bench.suites.spec import AttackSpec


def spec(name: str, **args: object) -> AttackSpec:
    entry = registry.attacks.entry(name)
    return AttackSpec(id=name, name=name, args=with_defaults(entry.params, dict(args)))


def test_an_iterated_attack_is_varied_itself() -> None:
    found = variants(spec("pgd", steps=30, restarts=2), "linf", 0.1)
    assert found.growth.args["steps"] == found.large_eps.args["steps"] == 30
    assert found.more_steps.args["steps"] == 60
    assert found.more_restarts.args["restarts"] == 6
    assert {one.name for one in (found.growth, found.more_steps, found.more_restarts, found.large_eps)} == {"pgd"}
    assert variants(spec("pgd", steps=2), "linf", 0.1).more_steps.args["steps"] == 50


@pytest.mark.parametrize(("alpha", "kept"), [(0.001, None), (0.01, 0.01)])
def test_more_steps_cross_the_ball(alpha: float, kept: float | None) -> None:
    found = variants(spec("pgd", steps=10, alpha=alpha), "linf", 0.2)
    assert found.more_steps.args["alpha"] == kept
    assert found.large_eps.args["alpha"] is None
    assert found.growth.args["alpha"] == alpha


@pytest.mark.parametrize(("name", "norm"), [("cw", "l2"), ("ddn", "l2"), ("fmn", "linf")])
def test_a_minimum_norm_attack_is_not_sent_into_a_huge_ball(name: str, norm: str) -> None:
    found = variants(spec(name, steps=100), norm, 0.5)
    assert (found.growth.name, found.large_eps.name, found.more_steps.name) == ("apgd", "apgd", name)
    assert found.large_eps.args["loss"] == "margin"
    assert found.more_steps.args["steps"] == 200


def test_an_ensemble_is_varied_by_auto_pgd_and_meets_the_large_radius_itself() -> None:
    found = variants(spec("autoattack"), "linf", 0.1)
    assert (found.growth.name, found.more_steps.name, found.more_restarts.name) == ("apgd",) * 3
    assert found.more_steps.args["steps"] == 200
    assert found.large_eps.name == "autoattack"


def test_fgsm_is_compared_with_pgd() -> None:
    found = variants(spec("fgsm", loss="margin"), "l2", 0.5)
    assert (found.more_steps.name, found.large_eps.name, found.growth.name) == ("pgd", "pgd", "fgsm")
    assert found.more_steps.args["loss"] == "margin"
