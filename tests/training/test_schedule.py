from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.training.parameters import Schedule
from bench.training.schedule import factor


def test_cosine_falls_from_one_to_nearly_zero() -> None:
    values = [factor(Schedule(name="cosine"), step, 100, 10) for step in range(100)]
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.5)
    assert values[99] < 0.001
    assert values == sorted(values, reverse=True)


def test_onecycle_rises_over_three_tenths_and_falls_in_a_straight_line() -> None:
    values = [factor(Schedule(name="onecycle"), step, 100, 10) for step in range(100)]
    assert values[0] == pytest.approx(1 / 30)
    assert values[29] == values[30] == 1.0
    assert values[65] == pytest.approx(0.5)
    assert values[99] == pytest.approx(1 / 70)


def test_constant_stays_after_its_warmup() -> None:
    values = [factor(Schedule(name="constant", warmup=0.1), step, 20, 10) for step in range(20)]
    assert values == [0.5, *[1.0] * 19]


@given(
    name=st.sampled_from(["cosine", "onecycle", "constant"]),
    warmup=st.none() | st.floats(0, 0.99),
    total=st.integers(1, 500),
    data=st.data(),
)
def test_the_factor_is_a_share_of_the_peak(name: str, warmup: float | None, total: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    schedule = Schedule.model_validate({"name": name, "warmup": warmup})
    assert 0 < factor(schedule, step, total, 3) <= 1


def test_step_falls_at_its_milestones() -> None:
    schedule = Schedule(name="step", milestones=(2, 3.5), gamma=0.1)
    values = [factor(schedule, step, 40, 4) for step in range(40)]
    assert values == [1.0] * 20 + [0.1] * 15 + [pytest.approx(0.01)] * 5


def test_cyclic_rises_and_falls_as_often_as_it_says() -> None:
    values = [factor(Schedule(name="cyclic", cycles=2), step, 40, 4) for step in range(40)]
    assert values[:20] == pytest.approx(values[20:])
    assert values[9] == values[10] == 1.0
    assert values[14] == pytest.approx(0.6)
