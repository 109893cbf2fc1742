"""Bit-depth reduction.

Xu et al. 2018, Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks, arXiv:1704.01155.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.defenses.base import Purifier
from bench.defenses.parameters import BitDepthParams


class BitDepth(Purifier):
    """Rounds every pixel to 2^bits levels; its gradient is zero almost everywhere, so BPDA takes the identity's."""

    differentiable: ClassVar[bool] = False
    params: BitDepthParams

    def purify(self, x: Tensor) -> Tensor:
        """The rounded images, shape (N, C, H, W)."""
        levels: int = 2**self.params.bits - 1
        return (x * levels).round() / levels
