from __future__ import annotations

from pathlib import Path

import pytest

from bench.training.load import load
from bench.training.strength import strength


def test_eps_grows_from_nothing_over_the_warmup(mini: Path) -> None:
    recipe = load(mini, overrides=["method.eps_warmup=4"])
    assert [strength(recipe, epoch) for epoch in (0, 1, 2, 4, 9)] == [0.0, 0.25, 0.5, 1.0, 1.0]


def test_without_a_schedule_the_attack_is_as_strong_as_it_says(mini: Path) -> None:
    assert strength(load(mini, overrides=["method.eps_warmup=0"]), 0.0) == 1.0
    assert strength(load(mini, overrides=["method=standard"]), 0.0) == 1.0


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("{name: linear, epochs: 4, start: 0.5}", [0.5, 0.75, 1.0, 1.0]),
        ("{name: cosine, epochs: 4}", [0.0, 0.5, 1.0, 1.0]),
        ("{name: step, epochs: 4, steps: 2}", [0.5, 1.0, 1.0, 1.0]),
    ],
)
def test_schedules_of_the_attack(mini: Path, said: str, expected: list[float]) -> None:
    recipe = load(mini, overrides=["method.eps_warmup=0", f"strength={said}"])
    assert [strength(recipe, epoch) for epoch in (0, 2, 4, 5)] == pytest.approx(expected)
