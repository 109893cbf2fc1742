"""Whose image a row of a library's pass is."""

from __future__ import annotations

import torch
from torch import Tensor


def owners_of(x: Tensor, images: Tensor) -> Tensor:
    """The place of the image that each row was made from, shape (B,), int64.

    That is the image in its place where a pass has as many rows as there are images, and the nearest one otherwise.

    Args:
        x: a pass, shape (B, C, H, W).
        images: the clean images under attack, shape (N, C, H, W).
    """
    if len(images) == 1:
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)
    if len(x) == len(images):
        return torch.arange(len(images), device=x.device)
    return torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)
