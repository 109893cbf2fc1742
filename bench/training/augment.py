"""Random changes of a batch of training images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training.parameters import Augmentation


def augment(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Mirrors, turns, scales and shifts each image by its own random amounts; what comes in from outside is black.

    Rotation and scale interpolate (bilinear), and shifts are then any fraction of a pixel; shifts alone are whole
    pixels and leave the values as they are.

    Args:
        x: images in [0, 1], shape (N, C, H, W), on the CPU.
        augmentation: the recipe's.
        generator: on the CPU.

    Returns:
        Images in [0, 1], the same shape.
    """
    if augmentation.hflip:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)
    if augmentation.rotation or augmentation.scale:
        return _affine(x, augmentation, generator)
    return _shifted(x, augmentation.shift, generator) if augmentation.shift else x


def _affine(x: Tensor, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Inverse maps from the new image to the old one, in the coordinates of ``affine_grid`` (-1 to 1)."""
    count, _, height, width = x.shape
    turn, grow, down, right = 2 * torch.rand(4, count, generator=generator) - 1
    angle = turn * math.radians(augmentation.rotation)
    size = 1 + grow * augmentation.scale
    cosine, sine = angle.cos() * size, angle.sin() * size
    # In unequal sides a rotation of pixels is not a rotation of these coordinates.
    rows = [
        torch.stack([cosine, -sine * (height / width), right * (2 * augmentation.shift / width)], dim=1),
        torch.stack([sine * (width / height), cosine, down * (2 * augmentation.shift / height)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False).clamp(0, 1)


def _shifted(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Pads with black and takes a window at a random place."""
    count, channels, height, width = x.shape
    padded = F.pad(x, (shift, shift, shift, shift))
    down, right = torch.randint(0, 2 * shift + 1, (2, count), generator=generator)
    rows = (down[:, None] + torch.arange(height)).view(count, 1, height, 1)
    columns = (right[:, None] + torch.arange(width)).view(count, 1, 1, width)
    images = torch.arange(count).view(-1, 1, 1, 1)
    return padded[images, torch.arange(channels).view(1, -1, 1, 1), rows, columns]
