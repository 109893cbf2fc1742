"""Intervals and tests for counts, against scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
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


# -- paired differences --------------------------------------------------------------------------------------------


def verdicts(only_a: int, only_b: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    a[:only_a], b[only_a : only_a + only_b] = True, True
    return a, b


def score(only_a: int, only_b: int, n: int, delta: float) -> float:
    """Tango's statistic, its nuisance parameter found by maximising the multinomial likelihood numerically."""

    def loss(p: float) -> float:
        cells = (only_a, p + delta), (only_b, p), (n - only_a - only_b, 1 - 2 * p - delta)
        return -sum(count * np.log(max(share, 1e-300)) for count, share in cells if count)

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    return (only_a - only_b - n * delta) / np.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(12, 2, 100), (1, 0, 44), (43, 6, 1600), (5, 5, 30), (0, 9, 512)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_tango_inverts_the_score_test(only_a: int, only_b: int, n: int, confidence: float) -> None:
    z = scipy_stats.norm.ppf(0.5 + confidence / 2)
    low, high = stats.tango(only_a, only_b, n, confidence)
    assert low < (only_a - only_b) / n < high
    assert score(only_a, only_b, n, low) == pytest.approx(z, abs=2e-3)
    assert score(only_a, only_b, n, high) == pytest.approx(-z, abs=2e-3)


def test_tango_of_known_cases() -> None:
    # Nothing differs: z^2 / (n + z^2) on either side; no pairs: nothing is known.
    z2 = scipy_stats.norm.ppf(0.975) ** 2
    assert stats.tango(0, 0, 100) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)))
    assert stats.tango(0, 0, 0) == (-1, 1)
    assert stats.tango(50, 0, 50).high == 1
    with pytest.raises(ValueError, match="between 0 and n, got 3 and 4 of 5"):
        stats.tango(3, 4, 5)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 100))
def test_tango_agrees_with_mcnemars_score_test(only_a: int, only_b: int, both: int) -> None:
    interval = stats.tango(only_a, only_b, only_a + only_b + both)
    mirrored = stats.tango(only_b, only_a, only_a + only_b + both)
    assert interval == pytest.approx((-mirrored.high, -mirrored.low))
    if only_a + only_b:
        z = (only_a - only_b) / np.sqrt(only_a + only_b)
        if abs(abs(z) - 1.959964) > 1e-6:
            assert (interval.low > 0 or interval.high < 0) == (abs(z) > 1.959964)


@pytest.mark.parametrize(
    ("n", "gain", "loss"), [(100, 0.02, 0.02), (100, 0.0, 0.03), (512, 0.01, 0.04), (512, 0.1, 0.2), (1000, 0.0, 0.002)]
)
def test_tango_covers(n: int, gain: float, loss: float) -> None:
    # How often the interval holds the truth, over 4,000 samples.
    generator = np.random.default_rng(0)
    drawn, counts = np.unique(generator.multinomial(n, [gain, loss, 1 - gain - loss], 4000), axis=0, return_counts=True)
    intervals = [stats.tango(int(a), int(b), n) for a, b, _ in drawn]
    covered = np.array([interval.low <= gain - loss <= interval.high for interval in intervals])
    assert counts[covered].sum() / counts.sum() >= 0.935
    below = np.array([stats.tango(int(a), int(b), n, 0.9).low <= gain - loss for a, b, _ in drawn])
    assert counts[below].sum() / counts.sum() >= 0.935  # the one-sided bound at 95 %


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_one_sided_test_is_the_binomial_one(only_a: int, only_b: int) -> None:
    a, b = verdicts(only_a, only_b, 130)
    n = only_a + only_b
    expected = scipy_stats.binomtest(only_a, n, 0.5, alternative="greater").pvalue if n else 1.0
    assert stats.paired_greater(a, b) == pytest.approx(expected, rel=1e-9)
    assert stats.paired_greater(a.astype(float), b.astype(float)) == stats.paired_greater(a, b)


def test_the_one_sided_test_of_shares_is_a_permutation_test() -> None:
    generator = np.random.default_rng(3)
    a = generator.choice([0, 0.25, 0.5, 1], 40)
    b = np.clip(a - generator.choice([0, 0, 0.25, -0.25, 0.5], 40), 0, 1)
    expected = scipy_stats.permutation_test(
        (a, b),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        alternative="greater",
        n_resamples=20_000,
        rng=1,
    ).pvalue
    assert stats.paired_greater(a, b) == pytest.approx(expected, abs=0.01)
    assert stats.paired_greater(b, a) > 0.7
    assert stats.paired_greater(a, a) == 1.0
    assert stats.paired_interval(a, b).low < float((a - b).mean()) < stats.paired_interval(a, b).high
    assert stats.paired_interval(a, a) == stats.tango(0, 0, 40)
    assert stats.paired_interval(a > 0.4, b > 0.4) == stats.tango(
        int(((a > 0.4) & ~(b > 0.4)).sum()), int((~(a > 0.4) & (b > 0.4)).sum()), 40
    )


@given(st.lists(st.floats(0, 1), max_size=8))
def test_equal_weights_are_holms(p_values: list[float]) -> None:
    assert stats.weighted_holm(p_values, [2.0] * len(p_values)) == pytest.approx(stats.holm(p_values))


def test_weighted_holm_of_a_known_case() -> None:
    # The first has 4/5 of the level, then the second has what is left: all of it.
    assert stats.weighted_holm([0.01, 0.04], [4, 1]) == pytest.approx([0.0125, 0.04])
    assert stats.weighted_holm([0.2, 0.005], [4, 1]) == pytest.approx([0.2, 0.025])


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 5), st.integers(0, 5))
def test_mcnemar_greater_is_the_one_sided_binomial_test(only_a: int, only_b: int, both: int, neither: int) -> None:
    a = np.array([True] * only_a + [False] * only_b + [True] * both + [False] * neither, dtype=bool)
    b = np.array([False] * only_a + [True] * only_b + [True] * both + [False] * neither, dtype=bool)
    expected = scipy_stats.binomtest(only_a, only_a + only_b, 0.5, "greater").pvalue if only_a + only_b else 1.0
    assert stats.mcnemar_greater(a, b) == pytest.approx(expected, rel=1e-9)
    assert stats.mcnemar_greater(a, b) + stats.mcnemar_greater(b, a) >= 1 - 1e-9


def test_mcnemar_greater_of_known_cases() -> None:
    # What only the first holds against nothing: the sign test, 2 ** -n; 9 against 1: 11 of 1,024.
    seven, nothing = np.array([True] * 7 + [False] * 93), np.zeros(100, dtype=bool)
    assert stats.mcnemar_greater(seven, nothing) == pytest.approx(2**-7)
    assert stats.mcnemar_greater(nothing, seven) == 1.0
    assert stats.mcnemar_greater(seven, seven) == 1.0
    assert stats.mcnemar_greater(nothing[:0], nothing[:0]) == 1.0
    nine = np.array([True] * 9 + [False]), np.array([False] * 9 + [True])
    assert stats.mcnemar_greater(*nine) == pytest.approx(11 / 1024)
    with pytest.raises(ValueError, match="same shape"):
        stats.mcnemar_greater(seven, nothing[:50])


@pytest.mark.parametrize("hard", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("together", [0.0, 0.5, 0.95])
def test_mcnemar_greater_keeps_its_level(hard: float, together: float) -> None:
    # Two equally strong attacks on 100 images, alike on a share of them: of 20,000 pairs, one in 100 may seem unequal. The
    # bound is three standard deviations above.
    generator = np.random.default_rng(0)
    shape, level, trials = (20_000, 100), 0.01, 20_000
    a, other = generator.random(shape) < hard, generator.random(shape) < hard
    b = np.where(generator.random(shape) < together, a, other)
    only_a, only_b = (a & ~b).sum(1), (b & ~a).sum(1)
    counts, times = np.unique(np.stack([only_a, only_b]), axis=1, return_counts=True)
    wrong = 0
    for (more, less), many in zip(counts.T, times, strict=True):
        first = np.arange(100) < more
        second = (np.arange(100) >= more) & (np.arange(100) < more + less)
        wrong += many * (stats.mcnemar_greater(first, second) < level)
    assert wrong / trials <= level + 3 * np.sqrt(level * (1 - level) / trials)
    assert wrong / trials > level / 4 or together > 0 or hard < 0.3  # it isn't blind, either


@given(st.integers(0, 400), st.integers(0, 400), st.floats(0.001, 0.999))
def test_binomial_tests_are_scipys(successes: int, more: int, p: float) -> None:
    n = successes + more
    if n == 0:
        assert stats.binomial_greater(0, 0, p) == stats.binomial_two_sided(0, 0, p) == 1.0
        return
    above = scipy_stats.binomtest(successes, n, p, "greater").pvalue
    below = scipy_stats.binomtest(successes, n, p, "less").pvalue
    assert stats.binomial_greater(successes, n, p) == pytest.approx(above, rel=1e-5, abs=1e-100)
    assert stats.binomial_two_sided(successes, n, p) == pytest.approx(
        min(1, 2 * min(above, below)), rel=1e-5, abs=1e-100
    )


@given(st.integers(1, 400), st.data())
def test_the_two_sided_binomial_test_of_fair_coins_is_scipys(n: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, n))
    expected = scipy_stats.binomtest(successes, n, 0.5).pvalue
    assert stats.binomial_two_sided(successes, n, 0.5) == pytest.approx(expected, rel=1e-7)


def test_binomial_tests_of_certain_events() -> None:
    assert stats.binomial_greater(5, 5, 1.0) == 1.0
    assert stats.binomial_greater(1, 5, 0.0) == 0.0
    assert stats.binomial_two_sided(4, 5, 1.0) == 0.0
    # R: binom.test(16, 80, 0.1, "greater")
    assert stats.binomial_greater(16, 80, 0.1) == pytest.approx(0.005304449, rel=1e-6)
