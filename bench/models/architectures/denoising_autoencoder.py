"""A convolutional denoising autoencoder: images to images."""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DenoisingAutoencoder(nn.Module):
    """Halves the image ``depth`` times, then doubles it again, without shortcuts past the narrow middle.

    Vincent et al. 2008, Extracting and Composing Robust Features with Denoising Autoencoders; convolutions and the
    sigmoid at the end as in Meng & Chen 2017, MagNet, arXiv:1705.09064. A sigmoid and no clamp: its gradient is never
    cut off where the image is black or white, so an attacker can go through it.

    Images of any size: what 2^depth doesn't divide is filled up with black at the right and below, and cut off again.

    Args:
        in_channels: channels of the images.
        width: channels after the first convolution; each halving doubles them.
        depth: how often the image is halved.
        mean: what every pixel is about before training. Where images are mostly black, a start at grey first learns to
            paint everything black, and the sigmoid is then too flat to come back.
    """

    def __init__(self, *, in_channels: int, width: int, depth: int, mean: float) -> None:
        super().__init__()
        self.depth = depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.inward = nn.Conv2d(in_channels, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(wide, wide * 2, 3, stride=2, padding=1) for wide in widths[:-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1) for wide in reversed(widths[1:])
        )
        self.outward = nn.Conv2d(width, in_channels, 3, padding=1)
        nn.init.constant_(cast(Tensor, self.outward.bias), math.log(mean / (1 - mean)))

    def forward(self, x: Tensor) -> Tensor:
        """Images in (0, 1), shape (N, C, H, W), of images in [0, 1] of the same shape."""
        height, width = x.shape[2:]
        unit = 2**self.depth
        out = F.relu(self.inward(F.pad(x, (0, -width % unit, 0, -height % unit))))
        for layer in (*self.down, *self.up):
            out = F.relu(layer(out))
        return torch.sigmoid(self.outward(out))[:, :, :height, :width]


def denoising_autoencoder(
    *, in_channels: int = 1, width: int = 16, depth: int = 2, mean: float = 0.5
) -> DenoisingAutoencoder:
    """64,449 parameters (0.3 MB) by default; see :class:`DenoisingAutoencoder`."""
    if min(in_channels, width) < 1 or depth < 0 or not 0 < mean < 1:
        raise ValueError("in_channels and width are at least 1, depth at least 0, mean is between 0 and 1")
    return DenoisingAutoencoder(in_channels=in_channels, width=width, depth=depth, mean=mean)
