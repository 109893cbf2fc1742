"""A dataset in memory: images, labels, stable ids and digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Batch(NamedTuple):
    """Some samples of a dataset.

    ``x`` has shape (N, C, H, W), float32 in [0, 1]; ``y`` has shape (N,), int64.
    """

    x: Tensor
    y: Tensor


@dataclass(frozen=True, slots=True)
class Dataset:
    """The images that a suite asks for.

    Attributes:
        name: as in the suite.
        images: shape (N, C, H, W), uint8 in 0..255 or float32 in [0, 1].
        labels: shape (N,), int64 in 0..num_classes - 1.
        sample_ids: N stable ids, such as ``cifar10/test/00012``; the same image has the same id in every selection.
        positions: shape (N,), int64: where each image stands in the dataset's own order.
        num_classes: number of classes.
        class_names: names of the classes, or empty.
        digest: sha256 of the whole source and its preprocessing, whatever was selected from it.
        note: what a reader of a number must know (for instance that it is a smoke test on 20 images).
    """

    name: str
    images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    sample_ids: tuple[str, ...]
    positions: npt.NDArray[np.int64]
    num_classes: int
    class_names: tuple[str, ...]
    digest: str
    note: str = ""
    _digests: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    """those of :meth:`sample_digest` that were asked for: every cell of a run asks again"""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def batch(self, indices: npt.NDArray[np.int64] | range) -> Batch:
        """The samples at these places of the selection, on the CPU."""
        chosen = np.asarray(indices, dtype=np.int64)
        images = torch.from_numpy(np.ascontiguousarray(self.images[chosen]))
        x = images.float().div(255) if images.dtype == torch.uint8 else images.float()
        return Batch(x, torch.from_numpy(self.labels[chosen].astype(np.int64)))

    def sample_digest(self, index: int) -> str:
        """The first 16 hex digits of the sha256 of one image's float32 bytes."""
        if index not in self._digests:
            self._digests[index] = image_digest(self.batch(range(index, index + 1)).x[0])
        return self._digests[index]


def image_digest(x: Tensor) -> str:
    """The first 16 hex digits of the sha256 of an image's float32 bytes, shape (C, H, W)."""
    return hashlib.sha256(np.ascontiguousarray(x.detach().cpu().float().numpy()).tobytes()).hexdigest()[:16]
