"""Bilateral filter.

Tomasi and Manduchi 1998, Bilateral filtering for gray and color images, ICCV; the filter is kornia's.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.defenses.base import Purifier
from bench.defenses.parameters import BilateralBlurParams


class BilateralBlur(Purifier):
    """Averages every pixel with those near it that look like it, reflecting at the borders; exact gradient."""

    differentiable: ClassVar[bool] = True
    library: ClassVar[tuple[str, ...]] = ("kornia",)
    params: BilateralBlurParams

    def purify(self, x: Tensor) -> Tensor:
        """The filtered images, shape (N, C, H, W)."""
        from kornia.filters import bilateral_blur

        space = (self.params.sigma_space, self.params.sigma_space)
        blurred: Tensor = bilateral_blur(x, self.params.kernel_size, self.params.sigma_color, space)
        return blurred.clamp(0, 1)
