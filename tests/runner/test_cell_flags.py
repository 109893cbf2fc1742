"""Flags that a whole cell gets, from its rows and the reports of its shards."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.runner import cell_flags
from bench.store.parts import ShardReport, StageCost
from bench.suites.expand import expand
from bench.suites.spec import Suite


def shards(names: tuple[str, ...]) -> list[ShardReport]:
    stages = tuple(StageCost(name=name, attacked=5, broken=0, seconds=0.0) for name in names)
    return [ShardReport(samples=50, seconds=1.0, device="cpu", batch_size=8, stages=stages) for _ in range(2)]


@pytest.mark.parametrize(
    ("n", "broken", "names", "severity"),
    [
        (100, 7, ("apgd-ce", "square"), "warning"),
        (100, 6, ("apgd-ce", "square"), "info"),
        (1000, 2, ("apgd-ce", "square"), None),
        (10_000, 20, ("apgd-ce", "square"), None),
        (10_000, 21, ("apgd-ce", "square"), "warning"),
        (100, 60, ("square",), None),
        (100, 60, ("square", "apgd-ce"), None),
    ],
)
def test_what_square_breaks_after_the_gradients_is_counted_over_all_shards(
    n: int, broken: int, names: tuple[str, ...], severity: str | None
) -> None:
    rows = pd.DataFrame(
        {"success": [index < 2 * broken for index in range(n)], "stage": ["square", "apgd-ce"] * (n // 2)}
    )
    found = cell_flags._square(rows, shards(names))
    assert [(flag.rule, flag.severity) for flag in found] == ([("autoattack-square", severity)] if severity else [])
    assert all(f"broke {broken} samples" in flag.message for flag in found)


@pytest.mark.parametrize(
    ("defense", "threat_model", "attacks", "steps", "rules"),
    [
        ("mahalanobis", "linf:0.1", ["pgd"], 0, ["no-detector-attack"]),
        ("mahalanobis", "linf:0.1", ["pgd"], 200, []),
        ("mahalanobis", "linf:0.1", ["pgd", {"name": "adam_pgd", "steps": 50}], 0, []),
        ("mahalanobis", "l2:1", ["pgd"], 0, []),
        ("jpeg", "linf:0.1", ["pgd"], 0, []),
    ],
)
def test_a_detector_that_only_signed_steps_attack(
    defense: str, threat_model: str, attacks: list[object], steps: int, rules: list[str]
) -> None:
    suite = Suite.model_validate(
        {
            "name": "demo", "dataset": "mnist", "models": ["zoo:mnist_standard"], "threat_models": [threat_model],
            "attacks": attacks, "defenses": [defense], "run": {"detector_steps": steps},
        }
    )  # fmt: skip
    for cell in expand(suite):
        flags = cell_flags.weak_adversary(suite, cell)
        assert [flag.rule for flag in flags] == ([] if cell.role == "prerequisite" else rules)
