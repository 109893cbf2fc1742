"""Random resizing and padding.

Xie et al. 2018, Mitigating Adversarial Effects Through Randomization, arXiv:1711.01991. The paper enlarges images and pads
them to 331 pixels; here the padded image keeps the input's size, so the resized one is smaller, and resizing is bilinear.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from bench.defenses.base import RandomPurifier
from bench.defenses.parameters import RandomResizePadParams
from bench.models.noise import Noise


class RandomResizePad(RandomPurifier):
    """Shrinks every image to a random size and pads it with zeros at a random place to the size it had; exact gradient."""

    differentiable: ClassVar[bool] = True
    params: RandomResizePadParams

    def purified(self, x: Tensor, noise: Noise) -> Tensor:
        """The padded images, shape (N, C, H, W)."""
        scale = noise.uniform(1).double()
        rows, inside_rows = self._axis(x.shape[2], scale, noise)
        columns, inside_columns = self._axis(x.shape[3], scale, noise)
        shape = (len(x), *x.shape[2:])
        grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
        resized = grid_sample(x, grid.to(x), mode="bilinear", padding_mode="border", align_corners=False)
        return resized * (inside_rows[:, None, :, None] & inside_columns[:, None, None, :])

    def _axis(self, length: int, scale: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Where the pixels of one axis come from.

        Args:
            length: of the axis, in pixels.
            scale: uniform in [0, 1), shape (N, 1): which of the sizes; both axes of an image share it.
            noise: gives the offset.

        Returns:
            Places in the input from -1 (its first border) to 1 (its last), shape (N, length), and which of the pixels
            are not padding.
        """
        smallest = max(1, math.floor(self.params.min_scale * length))
        size = smallest + (scale * (length - smallest + 1)).floor()
        offset = (noise.uniform(1).double() * (length - size + 1)).floor()
        pixel = torch.arange(length, device=scale.device) - offset
        return (2 * pixel + 1) / size - 1, (pixel >= 0) & (pixel < size)
