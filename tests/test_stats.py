"""Intervals and tests for counts, against scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench import stats


@given(st.integers(1, 20_000), st.sampled_from([0.001, 0.025, 0.3, 0.975]))
def test_the_quantile_of_fair_coins_is_scipys(n: int, share: float) -> None:
    assert stats.half_quantile(share, n) == int(scipy_stats.binom.ppf(share, n, 0.5))


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 5))
def test_mcnemar_is_the_exact_binomial_test(only_a: int, only_b: int, both: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True] * both, dtype=bool)
    b = np.array([False] * only_a + [True] * only_b + [True] * both, dtype=bool)
    expected = scipy_stats.binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1.0
    assert stats.mcnemar(a, b) == pytest.approx(expected, rel=1e-9)
    assert stats.mcnemar(a, b) == stats.mcnemar(b, a)


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_is_scipys(n: int, share: float, confidence: float) -> None:
    successes = round(share * n)
    expected = scipy_stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert stats.wilson(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 100_000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_clopper_pearson_is_the_quantile_of_beta(n: int, share: float, confidence: float) -> None:
    successes, tail = round(share * n), (1 - confidence) / 2
    low = scipy_stats.beta.ppf(tail, successes, n - successes + 1) if successes else 0.0
    high = scipy_stats.beta.isf(tail, successes + 1, n - successes) if successes < n else 1.0
    interval = stats.clopper_pearson(successes, n, confidence)
    assert interval == pytest.approx((low, high), rel=1e-7, abs=1e-12)
    assert interval.low <= successes / n <= interval.high


def test_clopper_pearson_of_known_cases() -> None:
    # Nothing of n: 1 - (alpha / 2) ** (1 / n); 7 of 10: R's binom.test(7, 10).
    assert stats.clopper_pearson(0, 10) == pytest.approx((0, 1 - 0.025**0.1))
    assert stats.clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1))
    assert stats.clopper_pearson(7, 10) == pytest.approx((0.3475471, 0.9332605), abs=1e-7)
    assert stats.clopper_pearson(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="between 0 and n, got 4 of 3"):
        stats.clopper_pearson(4, 3)


@given(st.integers(1, 60), st.floats(0.001, 0.999))
def test_clopper_pearson_covers_whatever_the_truth_is(n: int, truth: float) -> None:
    chances = scipy_stats.binom.pmf(np.arange(n + 1), n, truth)
    intervals = [stats.clopper_pearson(k, n, 0.9) for k in range(n + 1)]
    covered = [interval.low <= truth <= interval.high for interval in intervals]
    assert chances[covered].sum() >= 0.9 - 1e-9
    low = stats.clopper_pearson_low(np.arange(n + 1), np.full(n + 1, n), 0.9)
    assert chances[low <= truth].sum() >= 0.9 - 1e-9


def test_the_lower_bound_is_the_quantile_of_beta() -> None:
    successes, n = np.array([0, 1, 77, 99, 100, 0]), np.array([100, 100, 100, 100, 100, 0])
    low = stats.clopper_pearson_low(successes, n, 0.999)
    assert low[[0, 5]].tolist() == [0, 0]
    assert low[1:4] == pytest.approx(scipy_stats.beta.ppf(0.001, successes[1:4], 101 - successes[1:4]), rel=1e-9)
    assert low[4] == pytest.approx(0.001**0.01)
    with pytest.raises(ValueError, match="between 0 and n everywhere"):
        stats.clopper_pearson_low(np.array([1, 5]), np.array([4, 4]), 0.9)
