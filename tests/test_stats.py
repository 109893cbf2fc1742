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
