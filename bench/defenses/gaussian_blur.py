"""Gaussian blur.

Xu et al. 2018, Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks, arXiv:1704.01155 (spatial
smoothing); the blur is torchvision's.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench._imports import torchvision
from bench.defenses.base import Purifier
from bench.defenses.parameters import GaussianBlurParams


class GaussianBlur(Purifier):
    """Blurs every channel with a Gaussian kernel, reflecting at the borders; exact gradient."""

    differentiable: ClassVar[bool] = True
    library: ClassVar[tuple[str, ...]] = ("torchvision",)
    params: GaussianBlurParams

    def purify(self, x: Tensor) -> Tensor:
        """The blurred images, shape (N, C, H, W)."""
        functional = torchvision("torchvision.transforms.functional")
        blurred: Tensor = functional.gaussian_blur(x, [self.params.kernel_size] * 2, [self.params.sigma] * 2)
        return blurred
