"""Pixel deflection.

Prakash et al. 2018, Deflecting Adversarial Attacks with Pixel Deflection, arXiv:1801.08926: algorithm 1 alone, without the
robust activation map that steers it to the background and without the wavelet denoising that follows it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bench.defenses.base import RandomPurifier
from bench.defenses.parameters import PixelDeflectionParams
from bench.models.noise import Noise


class PixelDeflection(RandomPurifier):
    """Replaces random pixels, all channels at once, by random pixels near them; exact gradient."""

    differentiable: ClassVar[bool] = True
    params: PixelDeflectionParams

    def purified(self, x: Tensor, noise: Noise) -> Tensor:
        """The deflected images, shape (N, C, H, W)."""
        n, channels, height, width = x.shape
        count = self.params.deflections
        rows, columns = noise.integers(0, height, count), noise.integers(0, width, count)
        sources = self._near(rows, height, noise) * width + self._near(columns, width, noise)
        pixels = torch.arange(height * width, device=x.device).expand(n, -1)
        # Of several deflections of one pixel the last one counts, whatever order the device writes in.
        turns = torch.arange(count, device=x.device).expand(n, -1)
        last = torch.full_like(pixels, -1).scatter_reduce(1, rows * width + columns, turns, "amax")
        source = torch.where(last < 0, pixels, sources.gather(1, last.clamp_min(0)))
        return x.flatten(2).gather(2, source[:, None].expand(-1, channels, -1)).view_as(x)

    def _near(self, places: Tensor, length: int, noise: Noise) -> Tensor:
        """Uniform among the places of one axis in the window and in the image, shape (N, deflections), int64."""
        low = (places - self.params.window).clamp_min(0)
        high = (places + self.params.window).clamp_max(length - 1)
        return low + (noise.uniform(places.shape[1]).double() * (high - low + 1)).long()
