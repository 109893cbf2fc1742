"""Mahalanobis distance to the nearest class.

Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks,
arXiv:1807.03888, on the penultimate features alone and without the input preprocessing.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bench.defenses.base import Detector, Sight
from bench.defenses.detector_parameters import MahalanobisParams
from bench.errors import BenchError

MOST_FEATURES = 8192
"""Beyond it the covariance and its factorisation take gigabytes and minutes."""


class _Fitted(NamedTuple):
    """Float64: ``whitening`` (D, R) turns features into ones with the identity as covariance; ``means`` (K, R) are so."""

    whitening: Tensor
    means: Tensor


class Mahalanobis(Detector):
    """The smallest squared Mahalanobis distance of the features to a class's mean, under one covariance for all.

    The covariance is shrunk towards a multiple of the identity, by Ledoit and Wolf's share where the parameters say
    none: calibration images are often fewer than features, and with the pseudo-inverse alone whatever leaves the span
    of the clean features would go unseen. Exact gradient.
    """

    differentiable: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True
    needs_fit: bool = True
    params: MahalanobisParams

    def __init__(self, params: MahalanobisParams) -> None:
        super().__init__(params)
        self._fitted: _Fitted | None = None

    def fit(self, sight: Sight, y: Tensor) -> None:
        """Takes the classes' means and their common covariance, in float64.

        Raises:
            BenchError: where no class has two different images, or there are too many features.
        """
        if sight.features is None:
            raise BenchError("mahalanobis: needs the network's features")
        features = sight.features.double()
        if features.shape[1] > MOST_FEATURES:
            raise BenchError(
                f"mahalanobis: takes at most {MOST_FEATURES} features, the network has {features.shape[1]}"
            )
        y = y.to(features.device).contiguous()
        classes = torch.unique(y)
        means = torch.stack([features[y == label].mean(0) for label in classes])
        residuals = features - means[torch.searchsorted(classes, y)]
        if not bool(residuals.any()):
            raise BenchError("mahalanobis: needs two different calibration images of a class at least")
        covariance = residuals.T @ residuals / len(residuals)
        share = self.params.shrinkage if self.params.shrinkage is not None else ledoit_wolf(residuals)
        identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        covariance = (1 - share) * covariance + share * covariance.diagonal().mean() * identity
        values, vectors = torch.linalg.eigh(covariance)
        kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps  # as in a pseudo-inverse
        whitening = vectors[:, kept] / values[kept].sqrt()
        self._fitted = _Fitted(whitening, means @ whitening)

    def score(self, sight: Sight) -> Tensor:
        """The smallest squared distance, shape (N,)."""
        if self._fitted is None or sight.features is None:
            raise BenchError("mahalanobis: must be fitted to the features of clean images first")
        device = sight.features.device
        means = self._fitted.means.to(device)
        white = sight.features.double() @ self._fitted.whitening.to(device)
        squared = white.square().sum(1, keepdim=True) - 2 * white @ means.T + means.square().sum(1)
        return squared.amin(1).float()


def ledoit_wolf(residuals: Tensor) -> float:
    """The share of the scaled identity that makes the expected error of the covariance least.

    Ledoit & Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices.

    Args:
        residuals: shape (N, D), with mean 0.
    """
    count, dimension = residuals.shape
    covariance = residuals.T @ residuals / count
    mean = float(covariance.diagonal().mean())
    norm = float(covariance.square().sum())
    distance = norm - dimension * mean**2  # of the covariance from the scaled identity, squared
    error = (float(residuals.square().sum(1).square().sum()) / count - norm) / count
    return min(max(error / distance, 0.0), 1.0) if distance > 0 else 1.0
