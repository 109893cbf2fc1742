"""Datasets whose shape and classes are known (MNIST, Fashion-MNIST, CIFAR), read from the file that ``path`` names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.datasets import idx, npz, parquet
from bench.datasets.arrays import check_images, check_labels, check_shape
from bench.datasets.parameters import KnownParameters
from bench.datasets.source import Source
from bench.digests import file_digest, value_digest
from bench.errors import DatasetError
from bench.suites.spec import DatasetSpec


class Known(NamedTuple):
    """What is known of a dataset before it is read.

    ``shape`` is (C, H, W); ``forms`` says what ``path`` may name, for messages.
    """

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    forms: str


def check_split(spec: DatasetSpec) -> None:
    """Refuses a split that these datasets don't have.

    Raises:
        DatasetError: for ``val``.
    """
    if spec.split not in ("train", "test"):
        raise DatasetError(f"{spec.name}: split: there is no {spec.split!r} (accepted: train, test)")


def check_alone(spec: DatasetSpec) -> None:
    """Refuses parameters of a file where there is none.

    Raises:
        DatasetError: naming them.
    """
    if spec.args:
        raise DatasetError(f"{spec.name}: {', '.join(spec.args)}: goes with path, and there is no path")


def from_path(spec: DatasetSpec, parameters: KnownParameters, known: Known) -> Source:
    """The images of ``spec.path``, which is an IDX file or directory (grey images), parquet, npz or npy.

    Raises:
        DatasetError: if it is none of these, damaged, or holds images of another shape or labels out of range.
    """
    check_split(spec)
    path = Path(spec.path or "").expanduser()
    if not path.exists():
        raise DatasetError(f"{spec.name}: path: {path}: no such file or directory (accepted: {known.forms})")
    if path.suffix in npz.SUFFIXES:
        arrays = npz.read_arrays(path, parameters, num_classes=len(known.class_names))
        check_shape(arrays.images, known.shape, where=str(path))
        return npz.array_source(arrays, spec, num_classes=None, class_names=known.class_names)
    pair = idx.find_pair(path, spec.split) if known.shape[0] == 1 else None
    if pair is not None:
        return _idx_source(pair, spec, known)
    if path.suffix == ".parquet" or (path.is_dir() and any(path.glob(f"{spec.split}*.parquet"))):
        return _table_source(path, spec, parameters, known)
    raise DatasetError(f"{spec.name}: path: {path} holds no images of the {spec.split} split (accepted: {known.forms})")


def _idx_source(pair: idx.IdxPair, spec: DatasetSpec, known: Known) -> Source:
    images = check_images(idx.read(pair.images), where=str(pair.images))
    check_shape(images, known.shape, where=str(pair.images))
    labels = check_labels(
        idx.read(pair.labels), count=len(images), num_classes=len(known.class_names), where=str(pair.labels)
    )
    arrays = npz.Arrays(images, labels, value_digest([file_digest(pair.images), file_digest(pair.labels)]))
    return npz.array_source(arrays, spec, num_classes=None, class_names=known.class_names)


def _table_source(path: Path, spec: DatasetSpec, parameters: KnownParameters, known: Known) -> Source:
    classes = len(known.class_names)
    table = parquet.open_table(parquet.find_files(path, spec.split), parameters, num_classes=classes)
    source = parquet.table_source(
        table, spec, channels=known.shape[0], num_classes=classes, class_names=known.class_names
    )
    check_shape(source.decode(np.zeros(1, dtype=np.int64)), known.shape, where=str(path))
    return source
