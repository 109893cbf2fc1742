"""Random changes of a batch of training images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.training.parameters import Augmentation


def draw(augmentation: Augmentation, count: int, generator: torch.Generator) -> Tensor:
    """The random numbers for some images, shape (K, count), float32, on the CPU; K depends on the augmentation alone.

    Args:
        augmentation: the recipe's.
        count: images.
        generator: on the CPU.
    """
    rows = []
    if augmentation.hflip:
        rows.append(torch.rand(1, count, generator=generator))
    if augmentation.rotation or augmentation.scale:
        rows.append(2 * torch.rand(4, count, generator=generator) - 1)
    elif augmentation.shift:
        rows.append(torch.randint(0, 2 * augmentation.shift + 1, (2, count), generator=generator).float())
    if augmentation.cutout:
        rows.append(torch.rand(2, count, generator=generator))
    return torch.cat(rows) if rows else torch.zeros(0, count)


def augment(x: Tensor, augmentation: Augmentation, numbers: Tensor) -> Tensor:
    """Mirrors, turns, scales and shifts each image by its own amounts; what comes in from outside is black.

    Rotation and scale interpolate (bilinear), and shifts are then any fraction of a pixel; shifts alone are whole
    pixels and leave the values as they are. Cutout comes last.

    Args:
        x: images in [0, 1], shape (N, C, H, W).
        augmentation: the recipe's.
        numbers: what :func:`draw` gave for these images, shape (K, N), on the images' device.

    Returns:
        Images in [0, 1], the same shape.
    """
    rows = iter(numbers)
    if augmentation.hflip:
        mirrored = next(rows) < 0.5
        x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)
    if augmentation.rotation or augmentation.scale:
        x = _affine(x, augmentation, next(rows), next(rows), next(rows), next(rows))
    elif augmentation.shift:
        x = _shifted(x, augmentation.shift, next(rows).long(), next(rows).long())
    return _cut_out(x, augmentation.cutout, next(rows), next(rows)) if augmentation.cutout else x


def _affine(x: Tensor, augmentation: Augmentation, turn: Tensor, grow: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Inverse maps from the new image to the old one, in the coordinates of ``affine_grid`` (-1 to 1)."""
    height, width = x.shape[2:]
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


def _shifted(x: Tensor, shift: int, down: Tensor, right: Tensor) -> Tensor:
    """Pads with black and takes a window at a place from 0 to twice the shift."""
    count, channels, height, width = x.shape
    padded = F.pad(x, (shift, shift, shift, shift))
    here = x.device
    rows = (down[:, None] + torch.arange(height, device=here)).view(count, 1, height, 1)
    columns = (right[:, None] + torch.arange(width, device=here)).view(count, 1, 1, width)
    images = torch.arange(count, device=here).view(-1, 1, 1, 1)
    return padded[images, torch.arange(channels, device=here).view(1, -1, 1, 1), rows, columns]


def _cut_out(x: Tensor, side: int, down: Tensor, right: Tensor) -> Tensor:
    """Paints a square black whose centre is any pixel; a part of it may lie outside."""
    height, width = x.shape[2:]
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    top = ((down * height).long() - side // 2)[:, None]
    left = ((right * width).long() - side // 2)[:, None]
    inside = ((rows >= top) & (rows < top + side))[:, None, :, None]
    inside = inside & ((columns >= left) & (columns < left + side))[:, None, None, :]
    return x.masked_fill(inside, 0.0)
