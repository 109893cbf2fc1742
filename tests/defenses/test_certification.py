"""Predictions and certificates from counts, against scipy.stats and a linear model whose radius is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench.defenses import certification
from bench.defenses.certification import ABSTAIN

COUNTS = st.lists(st.integers(0, 200), min_size=2, max_size=6)


@given(COUNTS, st.sampled_from([0.001, 0.05, 0.3]))
def test_predict_is_the_papers_binomial_test(votes: list[int], alpha: float) -> None:
    first, second = sorted(votes)[-1], sorted(votes)[-2]
    p = scipy_stats.binomtest(first, first + second, 0.5).pvalue if first else 1.0
    assert certification.p_values(np.array([votes]))[0] == pytest.approx(p, rel=1e-9)
    expected = int(np.argmax(votes)) if p <= alpha else ABSTAIN
    assert certification.predict(np.array([votes]), alpha).tolist() == [expected]


@given(COUNTS, COUNTS, st.sampled_from([0.001, 0.1]), st.floats(0.01, 2))
def test_certify_is_the_papers_bound(votes0: list[int], votes: list[int], alpha: float, sigma: float) -> None:
    classes = min(len(votes0), len(votes))
    counts0, counts = np.array([votes0[:classes]]), np.array([votes[:classes]])
    chosen = int(counts0.argmax())
    successes, n = int(counts[0, chosen]), int(counts.sum())
    p_a = float(scipy_stats.beta.ppf(alpha, successes, n - successes + 1)) if successes else 0.0
    found = certification.certify(counts0, counts, sigma, alpha)
    if p_a > 0.5:
        assert found.classes.tolist() == [chosen]
        assert found.radii[0] == pytest.approx(sigma * scipy_stats.norm.ppf(p_a), rel=1e-6, abs=1e-9)
    else:
        assert (found.classes.tolist(), found.radii.tolist()) == ([ABSTAIN], [0.0])


def test_rows_are_judged_apart_and_ties_abstain() -> None:
    counts = np.array([[100, 0, 0], [50, 50, 0], [1, 2, 97], [40, 25, 35]])
    assert certification.predict(counts, 0.001).tolist() == [0, ABSTAIN, 2, ABSTAIN]
    found = certification.certify(counts, counts, 0.5, 0.001)
    assert found.classes.tolist() == [0, ABSTAIN, 2, ABSTAIN]
    # All of 100: the bound is alpha ** (1 / 100).
    assert found.radii[0] == pytest.approx(0.5 * scipy_stats.norm.ppf(0.001**0.01))
    assert found.classes.dtype == np.int64
    assert found.radii.dtype == np.float64


@pytest.mark.parametrize("distance", [0.1, 0.5, 1.0])
def test_the_radius_exceeds_the_true_one_with_probability_alpha_at_most(distance: float) -> None:
    # A linear model's smoothed classifier is itself: its radius is the distance, its top probability Phi(distance / sigma).
    alpha, sigma, trials, n = 0.05, 0.5, 20_000, 500
    generator = np.random.default_rng(0)
    p_a = scipy_stats.norm.cdf(distance / sigma)
    wins0, wins = generator.binomial(100, p_a, trials), generator.binomial(n, p_a, trials)
    found = certification.certify(
        np.stack([wins0, 100 - wins0], axis=1), np.stack([wins, n - wins], axis=1), sigma, alpha
    )
    wrong = (found.classes == 1) | (found.radii > distance)
    assert wrong.sum() <= scipy_stats.binom.ppf(0.999, trials, alpha)
    assert found.radii.mean() > 0.5 * distance


@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_a_coin_is_decided_with_probability_alpha_at_most(alpha: float) -> None:
    heads = np.random.default_rng(0).binomial(100, 0.5, 20_000)
    decided = certification.predict(np.stack([heads, 100 - heads], axis=1), alpha) != ABSTAIN
    assert 0 < decided.sum() <= scipy_stats.binom.ppf(0.999, 20_000, alpha)
