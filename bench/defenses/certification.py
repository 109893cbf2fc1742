"""What counts of votes over noisy copies allow to say: predictions and certified L2 radii, in numpy.

Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing, arXiv:1902.02918 (PREDICT and CERTIFY of
section 3.2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special  # scipy.stats takes a second to import

from bench.stats import FloatArray, IntArray, clopper_pearson_low

ABSTAIN = -1
"""The class of an image about which nothing is said."""


class Certificate(NamedTuple):
    """Classes that are certified, and how far.

    Attributes:
        classes: shape (N,), int64; ``ABSTAIN`` where nothing is certified.
        radii: L2, in the units of the pixels, shape (N,), float64; 0 where nothing is certified.
    """

    classes: IntArray
    radii: FloatArray


def p_values(counts: IntArray) -> FloatArray:
    """Two-sided binomial test of the top class against the runner-up, at 1/2.

    Hung & Fithian 2019, Rank verification for exponential families.

    Args:
        counts: votes for each class, shape (N, K), K at least 2.

    Returns:
        Shape (N,).
    """
    ranked = np.sort(np.asarray(counts, dtype=np.int64), axis=1)
    first, second = ranked[:, -1], ranked[:, -2]
    p: FloatArray = np.minimum(1.0, 2 * special.bdtr(second, first + second, 0.5))
    return p


def predict(counts: IntArray, alpha: float) -> IntArray:
    """The smoothed classifier's class, which is wrong with probability ``alpha`` at most.

    Args:
        counts: votes for each class, shape (N, K), K at least 2.
        alpha: level of the test.

    Returns:
        Shape (N,), int64; ``ABSTAIN`` where the votes are too close.
    """
    counts = np.asarray(counts, dtype=np.int64)
    return np.where(p_values(counts) <= alpha, counts.argmax(1), ABSTAIN)


def certify(counts0: IntArray, counts: IntArray, sigma: float, alpha: float) -> Certificate:
    """The smoothed classifier's class and an L2 radius within which it stays, wrong with probability ``alpha`` at most.

    Args:
        counts0: votes that choose the class, shape (N, K).
        counts: votes of other noisy copies that bound its probability, shape (N, K).
        sigma: standard deviation of the noise.
        alpha: probability of failure, per image.
    """
    counts0, counts = np.asarray(counts0, dtype=np.int64), np.asarray(counts, dtype=np.int64)
    chosen = counts0.argmax(1)
    votes = np.take_along_axis(counts, chosen[:, None], axis=1)[:, 0]
    p_a = clopper_pearson_low(votes, counts.sum(1), 1 - alpha)
    certified = p_a > 0.5
    radii = sigma * special.ndtri(np.where(certified, p_a, 0.5))
    return Certificate(np.where(certified, chosen, ABSTAIN), radii)
