"""Median filter.

Xu et al. 2018, Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks, arXiv:1704.01155 (spatial
smoothing); the filter is kornia's.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.defenses.base import Purifier
from bench.defenses.parameters import MedianBlurParams


class MedianBlur(Purifier):
    """Replaces every pixel by the median of its window, each channel on its own, reflecting at the borders.

    Its exact gradient goes to the pixel that was the median.
    """

    differentiable: ClassVar[bool] = True
    library: ClassVar[tuple[str, ...]] = ("kornia",)
    params: MedianBlurParams

    def purify(self, x: Tensor) -> Tensor:
        """The filtered images, shape (N, C, H, W)."""
        from kornia.filters import median_blur

        blurred: Tensor = median_blur(x, self.params.kernel_size)
        return blurred
