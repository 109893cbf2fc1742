"""Non-local means.

Buades et al. 2005, A non-local algorithm for image denoising, CVPR; as a defense Xu et al. 2018, Feature Squeezing,
arXiv:1704.01155 (non-local spatial smoothing); the filter is scikit-image's fast one.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from bench.defenses.base import Purifier
from bench.defenses.parameters import NonLocalMeansParams

CUTOFF = 5.0
"""scikit-image gives patches no weight whose distance, in units of h squared, is larger."""


class NonLocalMeans(Purifier):
    """Averages every pixel with those whose surroundings look like its own; BPDA differentiates the same sums in torch."""

    differentiable: ClassVar[bool] = False
    library: ClassVar[tuple[str, ...]] = ("scikit-image",)
    params: NonLocalMeansParams

    def purify(self, x: Tensor) -> Tensor:
        """The denoised images, shape (N, C, H, W)."""
        from skimage.restoration import denoise_nl_means

        images = x.detach().double().cpu().permute(0, 2, 3, 1).numpy()
        denoised = [
            denoise_nl_means(image, **self.params.model_dump(), channel_axis=-1).reshape(image.shape)
            for image in images
        ]
        return torch.from_numpy(np.stack(denoised)).permute(0, 3, 1, 2).to(x).contiguous().clamp(0, 1)

    def surrogate(self, x: Tensor) -> Tensor:
        """scikit-image's weighted sums, one shift of the image at a time, with the exact exponential.

        Its patches are the 2 * (patch_size // 2) pixels from one behind the middle on, its distances are divided by
        patch_size ** 2.
        """
        half, reach = self.params.patch_size // 2, self.params.patch_distance
        height, width = x.shape[-2:]
        padded = x[..., _reflected(height, half + reach, x), :][..., _reflected(width, half + reach, x)]
        rows, columns = height + 2 * half, width + 2 * half
        middle = padded[..., reach : reach + rows, reach : reach + columns]
        scale = (2 * half / (self.params.patch_size * self.params.h)) ** 2
        total, weights = torch.zeros_like(x), torch.zeros_like(x[:, :1])
        for row in range(2 * reach + 1):
            for column in range(2 * reach + 1):
                shifted = padded[..., row : row + rows, column : column + columns]
                squared = (middle - shifted).square().mean(1, keepdim=True) - 2 * self.params.sigma**2
                distance = avg_pool2d(squared[..., 1:, 1:], 2 * half, stride=1).clamp_min(0) * scale
                weight = torch.exp(-distance) * (distance <= CUTOFF)
                total = total + weight * shifted[..., half : half + height, half : half + width]
                weights = weights + weight
        return total / weights


def _reflected(length: int, by: int, x: Tensor) -> Tensor:
    """Places of the pixels of one axis after padding ``by`` pixels at both ends, shape (length + 2 * by,)."""
    return torch.from_numpy(np.pad(np.arange(length), by, mode="reflect")).to(x.device)
