"""Feature squeezing: how much the answer changes when the image is made simpler.

Xu et al. 2018, Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks, arXiv:1704.01155.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.defenses.base import Detector, Sight
from bench.defenses.bit_depth import BitDepth
from bench.defenses.detector_parameters import FeatureSqueezingParams
from bench.defenses.non_local_means import NonLocalMeans
from bench.defenses.parameters import BitDepthParams, NonLocalMeansParams


class FeatureSqueezing(Detector):
    """The largest L1 distance between the probabilities of the image and of its squeezed versions, in [0, 2].

    The squeezers are fewer bits, a median filter and, where it is asked for, non-local means. Rounding and non-local
    means have no gradient: the surrogate's forward pass is the same, and its gradient goes through the rounding
    unchanged and through the same non-local means in torch.
    """

    differentiable: ClassVar[bool] = False
    library: ClassVar[tuple[str, ...]] = ("scikit-image",)
    params: FeatureSqueezingParams

    def __init__(self, params: FeatureSqueezingParams) -> None:
        super().__init__(params)
        self._without_gradient = [BitDepth(BitDepthParams(bits=params.bits)), *_non_local_means(params)]

    def score(self, sight: Sight) -> Tensor:
        """The largest distance, shape (N,)."""
        return self._distance(sight, [squeezer.purify(sight.x) for squeezer in self._without_gradient])

    def surrogate_score(self, sight: Sight) -> Tensor:
        """The same numbers, with the surrogates' gradients where the squeezers have none."""
        squeezed = []
        for squeezer in self._without_gradient:
            stand_in = squeezer.surrogate(sight.x)
            nothing = stand_in - stand_in.detach()  # exactly 0, with the gradient
            squeezed.append(squeezer.purify(sight.x.detach()) + nothing)
        return self._distance(sight, squeezed)

    def _distance(self, sight: Sight, squeezed: list[Tensor]) -> Tensor:
        clean = sight.logits.float().softmax(1)
        smoothed = median(sight.x, self.params.kernel)
        answers = [sight.ask(images).float().softmax(1) for images in [*squeezed, smoothed]]
        return torch.stack([(clean - answer).abs().sum(1) for answer in answers]).amax(0)


def _non_local_means(params: FeatureSqueezingParams) -> list[NonLocalMeans]:
    h = params.non_local_means
    return [] if h is None else [NonLocalMeans(NonLocalMeansParams(patch_size=3, patch_distance=5, h=h))]


def median(x: Tensor, kernel: int) -> Tensor:
    """Median of each pixel's window as in scipy.ndimage.median_filter, which the authors use; exact gradient.

    An even window reaches one pixel further up and left, and its median is the upper of the two.

    Args:
        x: shape (N, C, H, W).
        kernel: width of the window in pixels.
    """
    before, after = kernel // 2, (kernel - 1) // 2
    padded = F.pad(x, (before, after, before, after), mode="replicate")
    windows = padded.unfold(2, kernel, 1).unfold(3, kernel, 1).flatten(4)
    return windows.sort(dim=-1).values[..., kernel**2 // 2]
