"""From values per image to an estimate with its 95 % interval over the sampling of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from bench.stats import half_quantile, wilson
from bench.store.records import Estimate

RESAMPLES = 1000
_SEED = 20240607
_CHUNK = 1 << 22
_KEPT = 1 << 14
"""Up to so many values the draws are kept: at most 32 MB each."""


def proportion(outcomes: npt.NDArray[np.bool_]) -> Estimate:
    """The share of true outcomes with Wilson's interval; ``None`` over no images.

    Args:
        outcomes: shape (N,).
    """
    n, count = len(outcomes), int(outcomes.sum())
    if n == 0:
        return Estimate(value=None, n=0)
    interval = wilson(count, n)
    return Estimate(value=count / n, low=interval.low, high=interval.high, n=n)


def share(outcomes: npt.NDArray[np.float64]) -> Estimate:
    """The mean of shares in [0, 1]: with Wilson's interval where every one is 0 or 1, else with a bootstrap's.

    Args:
        outcomes: shape (N,).
    """
    return proportion(outcomes > 0.5) if np.isin(outcomes, (0, 1)).all() else mean(outcomes)


def mean(values: npt.NDArray[np.float64]) -> Estimate:
    """The mean with a percentile bootstrap interval (Efron 1979; 1,000 resamples from a fixed seed).

    The order of the values doesn't matter. No interval from a single value, which says nothing about the spread.

    Args:
        values: finite, shape (N,).
    """
    n = len(values)
    if n == 0:
        return Estimate(value=None, n=0)
    ordered = np.sort(values)
    value = float(ordered.mean())
    if n == 1:
        return Estimate(value=value, n=1)
    chunks = _kept_draws(n) if n <= _KEPT else _draws(n)
    means = np.concatenate([ordered[chosen].mean(axis=1) for chosen in chunks])
    low, high = np.quantile(means, [0.025, 0.975])
    # Rounding in the sums may push the ends past a mean that all resamples share.
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), n=n)


def bootstrap(n: int, statistic: Callable[[npt.NDArray[np.int64]], float], *, counted: int) -> Estimate:
    """A statistic of images with a percentile bootstrap interval (Efron 1979; 1,000 resamples of images, a fixed seed).

    Whole images are drawn, so that all that was measured on an image stays together. Resamples without a value are left out.
    No interval from a single image. Where every resample has the same value the interval has no width, which says only
    that the images can't tell.

    Args:
        n: number of images.
        statistic: from how often each image is drawn, shape (n,), to a value; NaN where there is none.
        counted: how many images the estimate names as its own; with 0 there is no value.
    """
    if counted == 0:
        return Estimate(value=None, n=0)
    value = statistic(np.ones(n, dtype=np.int64))
    if counted == 1:
        return Estimate(value=value, n=1)
    drawn = (np.bincount(chosen, minlength=n) for chunk in _draws(n) for chosen in chunk)
    values = np.array([statistic(counts) for counts in drawn])
    low, high = np.quantile(values[~np.isnan(values)], [0.025, 0.975])
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), n=counted)


def _draws(n: int) -> Iterator[npt.NDArray[np.int64]]:
    """Which of n values each resample takes, shape (1000, n) in chunks."""
    generator = np.random.Generator(np.random.PCG64(_SEED))
    step = max(1, _CHUNK // n)
    for start in range(0, RESAMPLES, step):
        yield generator.integers(0, n, (min(step, RESAMPLES - start), n))


@lru_cache(maxsize=2)
def _kept_draws(n: int) -> tuple[npt.NDArray[np.uint16], ...]:
    """The same, all at hand, for the next metric and the next cell."""
    return tuple(chosen.astype(np.uint16) for chosen in _draws(n))


def median(values: npt.NDArray[np.float64]) -> Estimate:
    """The median with the interval between two order statistics that covers it in at least 95 % of samples.

    The ends are the k-th smallest and the k-th largest value, with the largest k for which
    ``P(Binomial(N, 1/2) < k) <= 0.025`` (Conover 1999, section 3.2). Fewer than six values allow no such interval. A
    median or an end that is infinite is ``None``.

    Args:
        values: not NaN, shape (N,).
    """
    n = len(values)
    if n == 0:
        return Estimate(value=None, n=0)
    ordered = np.sort(values)
    value = _finite(float(np.median(ordered)))
    k = half_quantile(0.025, n)
    if k == 0:
        return Estimate(value=value, n=n)
    return Estimate(value=value, low=_finite(float(ordered[k - 1])), high=_finite(float(ordered[n - k])), n=n)


def _finite(value: float) -> float | None:
    """JSON holds no infinity."""
    return value if math.isfinite(value) else None
