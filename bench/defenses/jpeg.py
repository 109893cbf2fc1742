"""JPEG compression.

Dziugaite et al. 2016, A study of the effect of JPG compression on adversarial images, arXiv:1608.00853; the codec is
Pillow's libjpeg. The surrogate is kornia's: Shin and Song 2017, JPEG-resistant adversarial images.
"""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.defenses.base import Purifier
from bench.defenses.parameters import JPEGParams
from bench.errors import BenchError


class JPEG(Purifier):
    """Compresses every image with libjpeg and decodes it again; BPDA differentiates a codec that rounds smoothly."""

    differentiable: ClassVar[bool] = False
    revision: ClassVar[int] = 2
    library: ClassVar[tuple[str, ...]] = ("pillow", "kornia")
    params: JPEGParams

    def purify(self, x: Tensor) -> Tensor:
        """The decoded images, shape (N, C, H, W); C is 1 or 3.

        Raises:
            BenchError: for another number of channels.
        """
        from PIL import Image

        if x.shape[1] not in (1, 3):
            raise BenchError(f"jpeg: takes images with 1 or 3 channels, got {x.shape[1]}")
        pixels = (x.detach().clamp(0, 1) * 255).round().byte().cpu().permute(0, 2, 3, 1).numpy()
        decoded = []
        for image in pixels:
            buffer = io.BytesIO()
            Image.fromarray(image.squeeze(-1) if x.shape[1] == 1 else image).save(
                buffer, "JPEG", quality=self.params.quality
            )
            decoded.append(np.asarray(Image.open(buffer)).reshape(image.shape))
        result = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(x.device)
        return result.to(x.dtype) / 255

    def surrogate(self, x: Tensor) -> Tensor:
        """The images as kornia's differentiable codec decodes them, shape (N, C, H, W); C is 1 or 3."""
        from kornia.enhance import jpeg_codec_differentiable

        quality = torch.tensor([float(self.params.quality)], device=x.device, dtype=x.dtype)
        decoded: Tensor = jpeg_codec_differentiable(x.expand(-1, 3, -1, -1), quality)
        return decoded.mean(1, keepdim=True) if x.shape[1] == 1 else decoded
