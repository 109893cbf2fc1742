"""Calibration of detectors: which score is too high, and what it weighs against the logits.

The threshold is split conformal (Vovk et al. 2005, Algorithmic Learning in a Random World): where the calibration
images and a new clean one are exchangeable, the chance that the new one is rejected is at most the stated
false-positive rate. The rejection as one more logit is Carlini & Wagner 2017, Adversarial Examples Are Not Easily
Detected, arXiv:1705.07263: an attack on classifier and detector together is an attack on a classifier of K + 1 classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import NormalDist

import torch
from torch import Tensor

from bench.defenses.base import Detector, Look, Sight
from bench.errors import BenchError

_IQR_OF_NORMAL = 1.349
_LEAST_GAIN = 1e-3


@dataclass(frozen=True, slots=True)
class Threshold:
    """What calibration found.

    Attributes:
        value: images with a score above it are rejected.
        scale: spread of the clean scores: their interquartile range as a normal's standard deviation, or, where it is
            larger, the distance from their median to ``value`` in a normal's standard deviations. Scores that are mostly
            0 have no range, and a distance from the threshold must not weigh without bound.
        gain: median difference of the two largest clean logits: what one ``scale`` above the threshold weighs.
        fpr: the stated false-positive rate.
        n: clean images that set the threshold.
    """

    value: float
    scale: float
    gain: float
    fpr: float
    n: int


def images_needed(detector: Detector, fpr: float) -> int:
    """The fewest calibration images with which a detector can keep to a false-positive rate."""
    rate = Fraction(str(fpr))
    least = math.ceil((1 - rate) / rate)
    return 2 * least if detector.needs_fit else least


def calibrate(
    detector: Detector, sights: Callable[[Tensor], Sight], x: Tensor, y: Tensor, *, fpr: float, batch_size: int
) -> Threshold:
    """Fits a detector where it must be fitted, and finds its threshold.

    A detector that ``needs_fit`` is fitted on the images with even indices; those with odd ones set the threshold.
    Otherwise all of them do.

    Args:
        detector: it changes when it is fitted.
        sights: what the detector may look at, for a batch of images.
        x: clean images, shape (N, C, H, W), float32 in [0, 1].
        y: their labels, shape (N,).
        fpr: the expected share of clean images above the threshold is at most this.
        batch_size: images of a pass.

    Raises:
        BenchError: for too few images, or scores that aren't finite.
    """
    name = type(detector).__name__
    needed = images_needed(detector, fpr)
    if len(x) < needed:
        raise BenchError(
            f"{name}: fpr {fpr:g} needs at least {needed} calibration images, got {len(x)}: give more images or a larger fpr"
        )
    with torch.no_grad():
        if detector.needs_fit:
            detector.fit(_whole(sights, x[::2], batch_size), y[::2])
            x = x[1::2]
        pieces = [sights(batch) for batch in torch.split(x, batch_size)]
        scores = torch.cat([detector.score(piece).float() for piece in pieces])
        logits = torch.cat([piece.logits for piece in pieces])
    if scores.shape != (len(x),):
        raise BenchError(f"{name}: gives scores of shape {tuple(scores.shape)} for {len(x)} images")
    strange = int((~torch.isfinite(scores)).sum())
    if strange:
        raise BenchError(f"{name}: the scores of {strange} of {len(x)} clean images aren't finite")
    value = _conformal(scores, fpr)
    top = logits.float().topk(2, dim=1).values
    gain = max(float((top[:, 0] - top[:, 1]).median()), _LEAST_GAIN)
    return Threshold(value, _spread(scores.double(), value, fpr), gain, fpr, len(scores))


def rejection_logit(logits: Tensor, score: Tensor, threshold: Threshold) -> Tensor:
    """The logit of "rejected", shape (N,): above all of ``logits`` exactly where the score is above the threshold.

    Args:
        logits: shape (N, K).
        score: shape (N,).
        threshold: from :func:`calibrate`.
    """
    largest = logits.amax(1)
    rejection = largest + threshold.gain * ((score - threshold.value) / threshold.scale)
    with torch.no_grad():  # a score that is only just above is lost in the sum's rounding
        above = torch.nextafter(largest, torch.full_like(largest, math.inf))
        lost = (score > threshold.value) & (rejection <= largest)
        lift = torch.where(lost, above - rejection, torch.zeros_like(largest))
    return rejection + lift


def _conformal(scores: Tensor, fpr: float) -> float:
    """The ceil((n + 1)(1 - fpr))-th smallest score, with the rate as the decimal that was written."""
    rank = math.ceil((len(scores) + 1) * (1 - Fraction(str(fpr))))
    return float(scores.sort().values[rank - 1])


def _spread(scores: Tensor, value: float, fpr: float) -> float:
    """See :attr:`Threshold.scale`."""
    low, median, high = (float(scores.quantile(share)) for share in (0.25, 0.5, 0.75))
    deviations = NormalDist().inv_cdf(1 - fpr)
    tail = (value - median) / deviations if deviations > 0.1 else 0.0
    return max((high - low) / _IQR_OF_NORMAL, tail, 1e-6 * abs(value), 1e-12)


def _whole(sights: Callable[[Tensor], Sight], x: Tensor, batch_size: int) -> Sight:
    """What there is to see of all images, asked for in batches."""
    pieces = [sights(batch) for batch in torch.split(x, batch_size)]
    first = pieces[0]
    features = [piece.features for piece in pieces if piece.features is not None]
    return replace(
        first,
        x=torch.cat([piece.x for piece in pieces]),
        logits=torch.cat([piece.logits for piece in pieces]),
        features=torch.cat(features) if features else None,
        ask=lambda images: torch.cat([first.ask(batch) for batch in torch.split(images, batch_size)]),
        look=None if first.look is None else _in_batches(first.look, batch_size),
    )


def _in_batches(look: Look, batch_size: int) -> Look:
    def looked(images: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = zip(*(look(batch) for batch in torch.split(images, batch_size)), strict=True)
        return torch.cat(logits), torch.cat(features)

    return looked
