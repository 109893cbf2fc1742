"""The training images where the network is."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.datasets.base import Batch, Dataset

LARGEST = 2 * 1024**3
"""Bytes of images up to which they all lie on the GPU."""


class TrainingImages:
    """Batches of training images on a device; on a GPU they are copied there once, where they aren't too many."""

    def __init__(self, images: Dataset, device: torch.device, *, largest: int = LARGEST) -> None:
        self.images, self.device = images, device
        self._labels = torch.from_numpy(images.labels.astype(np.int64))
        self._pixels: Tensor | None = None
        if device.type != "cpu" and images.images.nbytes <= largest:
            self._pixels = torch.from_numpy(np.ascontiguousarray(images.images)).to(device)
            self._labels = self._labels.to(device)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, rows: Tensor) -> Batch:
        """The images at these places, float32 in [0, 1], on the device.

        Args:
            rows: int64, shape (N,), on the CPU.
        """
        if self._pixels is None:
            x, y = self.images.batch(rows.numpy())
            return Batch(moved(x, self.device), moved(y, self.device))
        places = moved(rows, self.device)
        pixels = self._pixels[places]
        return Batch(pixels.float().div(255) if pixels.dtype == torch.uint8 else pixels, self._labels[places])


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on another device; a GPU gets it while the CPU goes on."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
