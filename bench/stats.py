"""Intervals and paired tests for counts of images.

All functions take counts or boolean arrays over images and speak of the sampling of images only: a robust accuracy is
an upper bound, and no interval here covers an attack that could have been stronger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special  # scipy.stats takes a second to import

BoolArray = npt.NDArray[np.bool_]
_FLIPS = 10_000
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion (Wilson 1927).

    Args:
        successes: number of successes, 0 to n.
        n: number of trials; with 0 trials the interval is [0, 1].
        confidence: level, in (0, 1).

    Raises:
        ValueError: if ``successes`` is outside 0 to n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n, got {successes} of {n}")
    if n == 0:
        return Interval(0.0, 1.0)
    z = float(special.ndtri(0.5 + confidence / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """The exact interval for a proportion (Clopper & Pearson 1934): it covers at least ``confidence``, whatever n is.

    Args:
        successes: number of successes, 0 to n.
        n: number of trials; with 0 trials the interval is [0, 1].
        confidence: level of the two sides together, in (0, 1).

    Raises:
        ValueError: if ``successes`` is outside 0 to n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must be between 0 and n, got {successes} of {n}")
    tail = (1 - confidence) / 2
    low = float(clopper_pearson_low(np.array([successes]), np.array([n]), 1 - tail)[0])
    high = 1.0 if successes == n else float(special.betainccinv(successes + 1, n - successes, tail))
    return Interval(low, high)


def clopper_pearson_low(successes: IntArray, n: IntArray, confidence: float) -> FloatArray:
    """Exact lower bounds for proportions, one-sided (Clopper & Pearson 1934).

    Args:
        successes: numbers of successes, 0 to n each, shape (N,).
        n: numbers of trials, shape (N,).
        confidence: level of the one side, in (0, 1).

    Returns:
        Shape (N,); 0 where nothing succeeded.

    Raises:
        ValueError: if some successes are outside 0 to n.
    """
    if np.any((successes < 0) | (successes > n)):
        raise ValueError("successes must be between 0 and n everywhere")
    some = np.maximum(successes, 1)  # the quantile isn't defined where nothing succeeded
    bounds = special.betaincinv(some, np.maximum(n, some) - some + 1, 1 - confidence)
    return np.where(successes == 0, 0.0, bounds)


def mcnemar(a: BoolArray, b: BoolArray) -> float:
    """McNemar's exact two-sided test on paired outcomes (McNemar 1947).

    Args:
        a: outcomes of the first, shape (N,).
        b: outcomes of the second on the same images, shape (N,).

    Returns:
        The p-value; 1.0 where no pair differs.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired outcomes must have the same shape, got {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    if only_a + only_b == 0:
        return 1.0
    # Under p = 1/2 both tails are the same, so that twice the smaller one is the exact test.
    return min(1.0, 2 * float(special.bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def mcnemar_greater(a: BoolArray, b: BoolArray) -> float:
    """McNemar's exact one-sided test: the p-value that ``a`` holds no more often than ``b`` on the same images.

    Where ``a`` can only hold where ``b`` does as well or besides it, this is the sign test of what it holds besides.

    Args:
        a: outcomes of the first, shape (N,).
        b: outcomes of the second on the same images, shape (N,).
    """
    if a.shape != b.shape:
        raise ValueError(f"paired outcomes must have the same shape, got {a.shape} and {b.shape}")
    only_a, only_b = int(np.sum(a & ~b)), int(np.sum(b & ~a))
    return 1.0 if only_a == 0 else float(special.bdtrc(only_a - 1, only_a + only_b, 0.5))


def binomial_greater(successes: int, n: int, p: float) -> float:
    """The probability of at least so many successes (the exact one-sided binomial test).

    Args:
        successes: 0 to n.
        n: number of trials.
        p: probability of each under the null hypothesis.
    """
    return 1.0 if successes <= 0 else float(special.bdtrc(successes - 1, n, p))


def binomial_two_sided(successes: int, n: int, p: float) -> float:
    """The exact two-sided binomial test: twice the smaller tail, at most 1.

    Args:
        successes: 0 to n.
        n: number of trials.
        p: probability of each under the null hypothesis.
    """
    return min(1.0, 2 * min(float(special.bdtr(successes, n, p)), binomial_greater(successes, n, p)))


def paired(a: BoolArray | FloatArray, b: BoolArray | FloatArray) -> float:
    """The two-sided p-value that two models do equally well on the same images.

    McNemar's exact test where every image is right or wrong; where one is right in a share of the draws, a randomisation
    test of the mean difference that flips the signs of the pairs (Fisher 1935; 10,000 flips from a fixed seed).

    Args:
        a: outcomes of the first, in [0, 1], shape (N,).
        b: outcomes of the second on the same images, shape (N,).
    """
    if _binary(a) and _binary(b):
        return mcnemar(a > 0.5, b > 0.5)
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    extreme = int((np.abs(_flipped(difference)) >= abs(difference.sum()) - 1e-9).sum())
    return (extreme + 1) / (_FLIPS + 1)


def _flipped(difference: FloatArray) -> FloatArray:
    """Sums of the differences, the sign of each drawn anew, shape (10,000,); a fixed seed."""
    generator = np.random.Generator(np.random.PCG64(20240607))
    return np.concatenate(
        [
            (2.0 * generator.integers(0, 2, (_FLIPS // 10, len(difference)), dtype=np.int8) - 1) @ difference
            for _ in range(10)
        ]
    )


def paired_difference(
    a: BoolArray | FloatArray, b: BoolArray | FloatArray, confidence: float = 0.95
) -> tuple[float, Interval]:
    """The mean of ``a - b`` over images and its percentile bootstrap interval (Efron 1979; 2,000 resamples, fixed seed).

    Args:
        a: outcomes of the first, in [0, 1], shape (N,), N at least 1.
        b: outcomes of the second on the same images, shape (N,).
        confidence: level of the two sides together, in (0, 1).
    """
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    generator = np.random.Generator(np.random.PCG64(20240607))
    n = len(difference)
    means = np.concatenate([difference[generator.integers(0, n, (100, n))].mean(axis=1) for _ in range(20)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(difference.mean()), Interval(float(low), float(high))


def paired_greater(a: BoolArray | FloatArray, b: BoolArray | FloatArray) -> float:
    """The one-sided p-value that the first does no better than the second on the same images.

    McNemar's exact test where every image is right or wrong, else the randomisation test of :func:`paired`, one-sided.

    Args:
        a: outcomes of the first, in [0, 1], shape (N,).
        b: outcomes of the second on the same images, shape (N,).
    """
    if _binary(a) and _binary(b):
        return mcnemar_greater(np.asarray(a, dtype=float) > 0.5, np.asarray(b, dtype=float) > 0.5)
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    extreme = int((_flipped(difference) >= difference.sum() - 1e-9).sum())
    return (extreme + 1) / (_FLIPS + 1)


def tango(only_a: int, only_b: int, n: int, confidence: float = 0.95) -> Interval:
    """The score interval for the difference of two paired proportions (Tango 1998, Statistics in Medicine 17:891-908).

    All differences that the score test doesn't reject: it keeps its level near 0 and 1, and where few pairs differ or none.

    Args:
        only_a: pairs in which the first holds and the second doesn't.
        only_b: pairs in which the second holds and the first doesn't.
        n: number of pairs; with 0 pairs the interval is [-1, 1].
        confidence: level of the two sides together, in (0, 1).

    Raises:
        ValueError: if the counts are negative or exceed ``n``.
    """
    if min(only_a, only_b) < 0 or only_a + only_b > n:
        raise ValueError(f"differing pairs must be between 0 and n, got {only_a} and {only_b} of {n}")
    if n == 0:
        return Interval(-1.0, 1.0)
    z = float(special.ndtri(0.5 + confidence / 2))
    return Interval(-_tango_high(only_b, only_a, n, z), _tango_high(only_a, only_b, n, z))


def _tango_high(only_a: int, only_b: int, n: int, z: float) -> float:
    """The largest difference that isn't rejected: the score statistic falls with the difference."""
    low, high = (only_a - only_b) / n, 1.0
    if _tango_score(only_a, only_b, n, high) > -z:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        if _tango_score(only_a, only_b, n, middle) > -z:
            low = middle
        else:
            high = middle
    return low


def _tango_score(only_a: int, only_b: int, n: int, delta: float) -> float:
    """Tango's equation 4, with the constrained maximum likelihood estimate of the share of ``only_b`` (equation 3)."""
    b = -only_a - only_b + (2 * n - only_a + only_b) * delta
    c = -only_b * delta * (1 - delta)
    q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    distance = only_a - only_b - n * delta
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def paired_interval(a: BoolArray | FloatArray, b: BoolArray | FloatArray, confidence: float = 0.95) -> Interval:
    """An interval for the mean of ``a - b``: :func:`tango` where all is right or wrong, else the bootstrap's.

    Where no pair differs the bootstrap would be sure that none ever does; Tango's is right there, since no difference is
    above 1.

    Args:
        a: outcomes of the first, in [0, 1], shape (N,), N at least 1.
        b: outcomes of the second on the same images, shape (N,).
        confidence: level of the two sides together, in (0, 1).
    """
    if _binary(a) and _binary(b):
        one, other = np.asarray(a, dtype=float) > 0.5, np.asarray(b, dtype=float) > 0.5
        return tango(int((one & ~other).sum()), int((other & ~one).sum()), len(one), confidence)
    if np.array_equal(a, b):
        return tango(0, 0, len(a), confidence)
    return paired_difference(a, b, confidence)[1]


def _binary(values: BoolArray | FloatArray) -> bool:
    return bool(np.isin(values, (0, 1)).all())


def half_quantile(share: float, n: int) -> int:
    """The smallest k with ``P(Binomial(n, 1/2) <= k) >= share``.

    Args:
        share: in (0, 1).
        n: number of trials.
    """
    k = max(0, math.floor(n / 2 + float(special.ndtri(share)) * math.sqrt(n) / 2))
    while k > 0 and special.bdtr(k - 1, n, 0.5) >= share:
        k -= 1
    while special.bdtr(k, n, 0.5) < share:
        k += 1
    return k


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of many p-values (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def weighted_holm(p_values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment where some hypotheses weigh more than others (Holm 1979, section 4).

    Whatever the weights and the dependence, rejecting what is at most alpha keeps the family-wise error rate at alpha.

    Args:
        p_values: of each hypothesis.
        weights: of each, above 0; only their ratios count.

    Returns:
        Adjusted p-values in the order given.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i] / weights[i])
    adjusted = [0.0] * len(p_values)
    running, left = 0.0, float(sum(weights))
    for index in order:
        running = max(running, min(1.0, left / weights[index] * p_values[index]))
        adjusted[index] = running
        left -= weights[index]
    return adjusted


def rank_ranges(outcomes: Sequence[BoolArray | FloatArray], alpha: float = 0.05) -> list[tuple[int, int]]:
    """The range of ranks that all-pairs McNemar tests (:func:`paired`) with Holm's correction leave to each row.

    A row's best rank is one more than the number of rows that are significantly better, its worst rank is the number of
    rows less those that are significantly worse.

    Args:
        outcomes: per row which images are robust, or in which share of the draws, each shape (N,), paired.
        alpha: family-wise error rate.
    """
    pairs = [(i, j) for i in range(len(outcomes)) for j in range(i + 1, len(outcomes))]
    adjusted = holm([paired(outcomes[i], outcomes[j]) for i, j in pairs])
    better, worse = [0] * len(outcomes), [0] * len(outcomes)
    for (i, j), p in zip(pairs, adjusted, strict=True):
        if p >= alpha:
            continue
        winner, loser = (i, j) if outcomes[i].sum() > outcomes[j].sum() else (j, i)
        better[loser] += 1
        worse[winner] += 1
    return [(1 + better[i], len(outcomes) - worse[i]) for i in range(len(outcomes))]
