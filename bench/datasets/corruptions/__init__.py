"""Corrupted variants of a dataset's images, sample for sample: made by a library, or the published files.

Hendrycks & Dietterich 2019, arXiv:1903.12261. One file per source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.datasets.base import Dataset
    from bench.datasets.corruptions.base import Corruptions
    from bench.suites.corruptions import CorruptionsSpec

_ARRAYS, _FOLDERS = ("cifar10", "cifar100"), ("imagenet",)


def open_corruptions(spec: CorruptionsSpec, dataset: Dataset) -> Corruptions:
    """The corrupted images of a dataset.

    Args:
        spec: the suite's word.
        dataset: the clean images.

    Raises:
        DatasetError: where there are no published files for this dataset, or they are missing or not of these images.
        DatasetUnavailable: where the library isn't installed.
    """
    from bench.datasets.corruptions.arrays import PublishedArrays
    from bench.datasets.corruptions.folders import PublishedFolders
    from bench.datasets.corruptions.generated import Generated
    from bench.errors import DatasetError

    if spec.path is None:
        return Generated(dataset, spec.seed)
    if dataset.name in _ARRAYS:
        return PublishedArrays(dataset, spec.path)
    if dataset.name in _FOLDERS:
        return PublishedFolders(dataset, spec.path)
    raise DatasetError(
        f"corruptions.path: there are no published corruptions of {dataset.name} (accepted: "
        f"{', '.join((*_ARRAYS, *_FOLDERS))}; or no path, and a library makes them)"
    )
