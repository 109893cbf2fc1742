"""ART's detectors of evasion (``art.defences.detector.evasion``), calibrated as ours are.

ART leaves the detecting network and the examples that it learns from to its caller. Here they are ours: small networks
that look at the pixels or at the penultimate features, clean calibration images, and examples that the basic iterative
method makes of them. ART's own threshold (the larger of two outputs, or the largest background score) gives way to the
calibrated one.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bench._imports import prepare_torchvision
from bench.defenses.auxiliary_head import bim
from bench.defenses.backends.art_preprocessors import ART
from bench.defenses.base import Detector, Sight
from bench.defenses.libraries.art_parameters import SubsetScanningDetectorParams, TrainedDetectorParams
from bench.errors import BenchError
from bench.models.noise import global_seed

_BATCH = 100
_HIDDEN = 64
_LARGEST_P = 0.5
"""ART's scanner leaves larger p-values out."""


class _InFloat64(nn.Module):
    """Trained and asked in float64, so that the number of threads changes nothing that counts."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers).double()

    def forward(self, seen: Tensor) -> Tensor:
        """Two outputs for each row, clean and adversarial, shape (N, 2)."""
        outputs: Tensor = self.layers(seen.double())
        return outputs


class _Activations:
    """A classifier as ART's detectors ask it, whose images are features already."""

    layer_names = ("features",)

    def get_activations(self, x: Any, layer: str, batch_size: int, framework: bool) -> Any:  # Any: arrays
        """The features as they are."""
        return x


class TrainedDetector(Detector):
    """The log-odds that a network of two classes gives an image of being adversarial; ART trains it; exact gradient.

    The training is the same wherever it runs: weights and order of the images from the seed, float64 on the CPU.
    """

    differentiable: ClassVar[bool] = True
    needs_fit: bool = True
    library: ClassVar[tuple[str, ...]] = (ART,)
    params: TrainedDetectorParams

    def __init__(self, params: TrainedDetectorParams) -> None:
        super().__init__(params)
        self._network: nn.Module | None = None

    @abstractmethod
    def seen(self, sight: Sight) -> Tensor:
        """What the network looks at."""

    @abstractmethod
    def network(self, seen: Tensor) -> nn.Module:
        """A new network for what it looks at, float64, two outputs."""

    @abstractmethod
    def detector(self, classifier: Any) -> Any:  # Any: ART has no annotations that mypy sees
        """ART's detector around the network."""

    @abstractmethod
    def again(self, sight: Sight, x: Tensor) -> Tensor:
        """What the network looks at, for other images."""

    def fit(self, sight: Sight, y: Tensor) -> None:
        """Makes adversarial examples of the clean images and has ART train the network to tell them apart."""
        clean = self.seen(sight).detach()
        adversarial = []
        for x, labels in zip(torch.split(sight.x, _BATCH), torch.split(y.to(sight.x.device), _BATCH), strict=True):
            x_adv = bim(sight.ask, x, labels, eps=self.params.eps, steps=self.params.steps)
            with torch.no_grad():
                adversarial.append(self.again(sight, x_adv))
        self._network = self._trained(clean.cpu(), torch.cat(adversarial).cpu())

    def _trained(self, clean: Tensor, adversarial: Tensor) -> nn.Module:
        prepare_torchvision()
        from art.estimators.classification import PyTorchClassifier

        seen = torch.cat([clean, adversarial])
        target = np.repeat(np.eye(2, dtype=np.float32), [len(clean), len(adversarial)], axis=0)
        with global_seed(self.params.seed), torch.enable_grad():
            network = self.network(seen)
            optimizer = torch.optim.Adam(network.parameters(), lr=self.params.lr)
            classifier = PyTorchClassifier(
                network, nn.CrossEntropyLoss(), tuple(seen.shape[1:]), 2, optimizer=optimizer, device_type="cpu"
            )
            training = {"batch_size": self.params.batch_size, "nb_epochs": self.params.nb_epochs}
            self.detector(classifier).fit(seen.numpy(), target, **training)
        return network.eval().requires_grad_(False)

    def score(self, sight: Sight) -> Tensor:
        """The network's log-odds, shape (N,)."""
        if self._network is None:
            raise BenchError(f"art.{type(self).__name__}: must be fitted to clean images first")
        seen = self.seen(sight)
        outputs: Tensor = self._network.to(seen.device)(seen)
        return (outputs[:, 1] - outputs[:, 0]).float()


class BinaryInputDetector(TrainedDetector):
    """Two strided convolutions over the pixels, their mean over the image, and a linear layer.

    Where large areas have one value, attacks that step by the sign of the gradient change them and are seen: they
    flatter it. Steps in proportion to the gradient leave such areas alone.
    """

    def seen(self, sight: Sight) -> Tensor:
        """The images."""
        return sight.x

    def again(self, sight: Sight, x: Tensor) -> Tensor:
        """The images."""
        return x

    def network(self, seen: Tensor) -> nn.Module:
        """16 and 32 channels."""
        first, second = nn.Conv2d(seen.shape[1], 16, 3, stride=2, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
        pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 2))
        return _InFloat64(first, nn.ReLU(), second, nn.ReLU(), *pooled)

    def detector(self, classifier: Any) -> Any:  # Any: ART has no annotations that mypy sees
        """ART's detector that looks at images."""
        from art.defences.detector import evasion

        return evasion.BinaryInputDetector(classifier)


class BinaryActivationDetector(TrainedDetector):
    """One hidden layer on the penultimate features."""

    needs_features: ClassVar[bool] = True

    def seen(self, sight: Sight) -> Tensor:
        """The features."""
        if sight.features is None:
            raise BenchError("art.BinaryActivationDetector: needs the network's features")
        return sight.features

    def again(self, sight: Sight, x: Tensor) -> Tensor:
        """The features of other images."""
        assert sight.look is not None
        return sight.look(x)[1]

    def network(self, seen: Tensor) -> nn.Module:
        """64 units."""
        return _InFloat64(nn.Linear(seen.shape[1], _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 2))

    def detector(self, classifier: Any) -> Any:  # Any: ART has no annotations that mypy sees
        """ART's detector that looks at activations."""
        from art.defences.detector import evasion

        return evasion.BinaryActivationDetector(_Activations(), classifier, layer="features")


class SubsetScanningDetector(Detector):
    """How improbable the most unusual set of penultimate features is, given those of clean images.

    A feature's p-value is the share of clean images in which it is at least as large. Counts have no gradient: the
    surrogate is the sum over features of softplus(log alpha - log p), where p is the tail of a normal with the feature's
    clean mean and deviation, and alpha the p-value up to which ART's scanner takes features for unusual.
    """

    differentiable: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True
    needs_fit: bool = True
    library: ClassVar[tuple[str, ...]] = (ART,)
    params: SubsetScanningDetectorParams

    def __init__(self, params: SubsetScanningDetectorParams) -> None:
        super().__init__(params)
        self._clean: Tensor | None = None

    def fit(self, sight: Sight, y: Tensor) -> None:
        """Keeps the features of clean images, sorted."""
        self._clean = self._features(sight).detach().T.sort(1).values.contiguous()

    def score(self, sight: Sight) -> Tensor:
        """ART's score, shape (N,); 0 where no feature is above the median of the clean ones."""
        return self._scanned(self._features(sight))[0]

    def surrogate_score(self, sight: Sight) -> Tensor:
        """The sum over features that the class describes, shape (N,)."""
        features = self._features(sight)
        with torch.no_grad():
            alpha = self._scanned(features)[1]
        clean = self._fitted(features)
        spread = clean.std(1, correction=0)
        least = (0.1 * spread.mean()).clamp_min(torch.finfo(spread.dtype).eps)  # of features that never change
        log_p = torch.special.log_ndtr((clean.mean(1) - features) / torch.maximum(spread, least))
        return torch.nn.functional.softplus(alpha.log()[:, None] - log_p).sum(1)

    def p_values(self, features: Tensor) -> Tensor:
        """The larger end of each p-value's range, as ART counts it, float64, shape (N, D)."""
        clean = self._fitted(features)
        below = torch.searchsorted(clean, features.detach().T.contiguous())
        count = clean.shape[1]
        return (count + 1 - below.T).double() / (count + 1)

    def _scanned(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The scores and the p-values up to which features count as unusual, both of shape (N,)."""
        prepare_torchvision()
        from art.defences.detector.evasion.subsetscanning.scanner import Scanner
        from art.defences.detector.evasion.subsetscanning.scoring_functions import ScoringFunctions

        short = {"BerkJones": "bj", "HigherCriticism": "hc", "KolmarovSmirnov": "ks"}[self.params.scoring_function]
        how = getattr(ScoringFunctions, f"get_score_{short}_fast")
        scores, alphas = [], []
        for row in self.p_values(features).cpu().numpy():
            score, alpha = 0.0, _LARGEST_P
            if (row <= _LARGEST_P).any():
                score, _, _, alpha = Scanner.fgss_individ_for_nets(np.stack([row, row], 1), _LARGEST_P, how)
            scores.append(float(score))
            alphas.append(float(alpha))
        return features.new_tensor(scores), features.new_tensor(alphas)

    def _features(self, sight: Sight) -> Tensor:
        if sight.features is None:
            raise BenchError("art.SubsetScanningDetector: needs the network's features")
        return sight.features

    def _fitted(self, features: Tensor) -> Tensor:
        """The clean features, sorted, shape (D, n), where these are."""
        if self._clean is None:
            raise BenchError("art.SubsetScanningDetector: must be fitted to the features of clean images first")
        return self._clean.to(features.device)
