"""ImageNet-C as published (Hendrycks & Dietterich 2019, arXiv:1903.12261; zenodo.org/records/2235448).

``<path>/<corruption>/<severity>/<class>/<image>.JPEG``: the validation images, 224 x 224 pixels, under the names that they
have in the validation folder. They are read as RobustBench reads them, without any preprocessing. Its archives hold
several corruptions each and unpack into one directory per corruption.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.datasets.base import Dataset
from bench.datasets.corruptions.base import Pixels
from bench.datasets.pixels import decode_image
from bench.digests import listing_digest
from bench.errors import DatasetError, DatasetUnavailable

_FORMS = "a directory such as ImageNet-C with <corruption>/<severity>/<class>/<image>.JPEG"


class PublishedFolders:
    """The published corrupted images, paired with the dataset's by their names.

    Args:
        dataset: the clean images, whose ids are ``<class>/<image>.JPEG``.
        path: the directory.

    Raises:
        DatasetUnavailable: where it isn't there.
    """

    def __init__(self, dataset: Dataset, path: str) -> None:
        self._root, self._dataset = Path(path).expanduser(), dataset
        self._digests: dict[Path, str] = {}
        if not self._root.is_dir():
            raise DatasetUnavailable(f"corruptions.path: {self._root}: no such directory (accepted: {_FORMS})")

    def facts(self, corruption: str, severity: int) -> dict[str, Any]:  # Any: JSON values
        """The digest of the folder's listing: names and sizes, as the bytes are too many to read for it."""
        folder = self._folder(corruption, severity)
        if folder not in self._digests:
            self._digests[folder] = listing_digest(_listing(folder))
        return {"files": [self._digests[folder]]}

    def images(self, corruption: str, severity: int, members: Sequence[int]) -> Pixels:
        """See :class:`bench.datasets.corruptions.base.Corruptions`."""
        folder, shape = self._folder(corruption, severity), self._dataset.shape
        found = np.empty((len(members), *shape), dtype=np.uint8)
        for row, member in enumerate(members):
            path = folder / self._dataset.sample_ids[member]
            if not path.is_file():
                raise DatasetError(f"{path}: no such file: the corrupted variant of {self._dataset.sample_ids[member]}")
            image = decode_image(path, channels=shape[0], where=str(path))
            if image.shape != shape:
                raise DatasetError(
                    f"{path}: an image of shape {image.shape}, the clean ones have {shape}, as (C, H, W); ImageNet-C is "
                    "224 x 224"
                )
            found[row] = image
        return found

    def _folder(self, corruption: str, severity: int) -> Path:
        folder = self._root / corruption / str(severity)
        if not folder.is_dir():
            raise DatasetUnavailable(f"corruptions.path: {folder}: no such directory (accepted: {_FORMS})")
        return folder


def _listing(folder: Path) -> Iterator[tuple[str, int]]:
    """Names relative to the folder, and sizes in bytes."""
    with os.scandir(folder) as classes:
        for one in classes:
            if one.is_dir():
                with os.scandir(one.path) as files:
                    yield from ((f"{one.name}/{file.name}", file.stat().st_size) for file in files if file.is_file())
