"""CIFAR-10-C and CIFAR-100-C as published (Hendrycks & Dietterich 2019, arXiv:1903.12261; zenodo.org/records/2535967).

One file per corruption, ``<corruption>.npy``: uint8, shape (50,000, 32, 32, 3), the 10,000 test images in their order at
severity 1, then at severity 2, to 5; and ``labels.npy``, shape (50,000,). Files of fewer images, five times as many rows as
images, are read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import Dataset
from bench.datasets.corruptions.base import Pixels
from bench.digests import file_digest
from bench.errors import DatasetError, DatasetUnavailable
from bench.suites.corruptions import SEVERITIES

_FORMS = "a directory such as CIFAR-10-C with labels.npy and <corruption>.npy"


class PublishedArrays:
    """The published corrupted images, paired with the dataset's by their position.

    Args:
        dataset: the clean images.
        path: the directory.

    Raises:
        DatasetUnavailable: where it isn't there.
        DatasetError: where the labels are damaged, or aren't those of the dataset's images.
    """

    def __init__(self, dataset: Dataset, path: str) -> None:
        self._root = Path(path).expanduser()
        self._dataset = dataset
        if not self._root.is_dir():
            raise DatasetUnavailable(f"corruptions.path: {self._root}: no such directory (accepted: {_FORMS})")
        self._labels = self._root / "labels.npy"
        labels = _array(self._labels)
        if labels.ndim != 1 or len(labels) == 0 or len(labels) % len(SEVERITIES):
            raise DatasetError(f"{self._labels}: shape {labels.shape} (accepted: five times the number of images)")
        blocks = np.asarray(labels).reshape(len(SEVERITIES), -1)
        if (blocks != blocks[0]).any():
            raise DatasetError(f"{self._labels}: the labels differ between severities: not the published files")
        self._count = blocks.shape[1]
        self._refuse_other_images(blocks[0])
        self._open: dict[str, Pixels] = {}

    def facts(self, corruption: str, severity: int) -> dict[str, Any]:  # Any: JSON values
        """The digests of the files."""
        self._file(corruption)
        return {"files": [file_digest(self._root / f"{corruption}.npy"), file_digest(self._labels)]}

    def images(self, corruption: str, severity: int, members: Sequence[int]) -> Pixels:
        """See :class:`bench.datasets.corruptions.base.Corruptions`."""
        rows = (severity - 1) * self._count + self._dataset.positions[np.asarray(members, dtype=np.int64)]
        return np.ascontiguousarray(self._file(corruption)[rows].transpose(0, 3, 1, 2))

    def _file(self, corruption: str) -> Pixels:
        if corruption not in self._open:
            path = self._root / f"{corruption}.npy"
            images = _array(path)
            wanted = (len(SEVERITIES) * self._count, *self._dataset.shape[1:], self._dataset.shape[0])
            if images.dtype != np.uint8 or images.shape != wanted:
                raise DatasetError(
                    f"{path}: {images.dtype} of shape {images.shape} (accepted: uint8 of shape {wanted})"
                )
            self._open[corruption] = images
        return self._open[corruption]

    def _refuse_other_images(self, labels: np.ndarray[Any, Any]) -> None:
        """Files of other images, or of these in another order, would be paired with the wrong clean ones."""
        positions = self._dataset.positions
        if int(positions.max()) >= self._count:
            raise DatasetError(
                f"{self._root}: holds {self._count} images, the suite asks for the one at position {int(positions.max())}"
            )
        wrong = labels[positions] != self._dataset.labels
        if wrong.any():
            raise DatasetError(
                f"{self._labels}: {int(wrong.sum())} of {len(wrong)} labels aren't those of {self._dataset.name}: other "
                f"images, another order or another split, first at position {int(positions[wrong][0])} (accepted: the test "
                "images in the published order)"
            )


def _array(path: Path) -> np.ndarray[Any, Any]:
    """An array on disk, read where it is asked for.

    Raises:
        DatasetError: where it is missing or damaged.
    """
    try:
        found: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise DatasetUnavailable(f"corruptions.path: {path}: no such file (accepted: {_FORMS})") from error
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: not a readable npy file: {error}") from error
    return found
