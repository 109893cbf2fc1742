"""Local intrinsic dimensionality.

Ma et al. 2018, Characterizing Adversarial Subspaces Using Local Intrinsic Dimensionality, arXiv:1801.02613, on the
penultimate features alone and without the classifier that the authors train on several layers; the neighbours come from
the calibration images in the place of a batch.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.defenses.base import Detector, Sight
from bench.defenses.detector_parameters import LIDParams
from bench.errors import BenchError

_NEAREST = 1e-24
"""Squared distances below count as this, so that an image among the references has a finite score."""
_LEAST_MEAN = 1e-6
"""Of the logarithms: neighbours that are all equally far have a dimensionality of a million, not infinity."""


class LID(Detector):
    """The maximum-likelihood estimate of the dimensionality that clean features have around the image's; exact gradient."""

    differentiable: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True
    needs_fit: bool = True
    params: LIDParams

    def __init__(self, params: LIDParams) -> None:
        super().__init__(params)
        self._references: Tensor | None = None

    def fit(self, sight: Sight, y: Tensor) -> None:
        """Keeps the features of clean images.

        Raises:
            BenchError: for fewer of them than neighbours.
        """
        if sight.features is None:
            raise BenchError("lid: needs the network's features")
        if len(sight.features) < self.params.k:
            raise BenchError(
                f"lid: k {self.params.k} needs as many clean images to compare with, got {len(sight.features)} (half of the "
                "calibration images)"
            )
        self._references = sight.features.double()

    def score(self, sight: Sight) -> Tensor:
        """The estimate ``-1 / mean(log(r_i / r_k))``, shape (N,)."""
        if self._references is None or sight.features is None:
            raise BenchError("lid: must be fitted to the features of clean images first")
        features, references = sight.features.double(), self._references.to(sight.features.device)
        squared = features.square().sum(1, keepdim=True) - 2 * features @ references.T + references.square().sum(1)
        nearest = squared.topk(self.params.k, dim=1, largest=False).values.clamp_min(_NEAREST)
        logs = (nearest.log() - nearest[:, -1:].log()) / 2  # of distances: half of those of their squares
        return (-1 / logs.mean(1).clamp_max(-_LEAST_MEAN)).float()
