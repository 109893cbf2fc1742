"""The file of examples that a person submits: adversarial images, and which of the run's samples they belong to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bench.datasets.arrays import AnyArray, check_images
from bench.datasets.base import Dataset
from bench.datasets.npz import opened
from bench.datasets.parameters import Layout
from bench.digests import file_digest
from bench.errors import DatasetError, SubmissionError

IMAGES, IDS, POSITIONS = "x_adv", "sample_ids", "positions"
_KEYS = (IMAGES, IDS, POSITIONS)

_Name = TypeVar("_Name", str, int)


class Submitted(NamedTuple):
    """Examples as they stand in a file, checked."""

    places: npt.NDArray[np.int64]
    """of their samples in the dataset's selection, shape (M,)"""
    x_adv: npt.NDArray[np.float32]
    """shape (M, C, H, W), in [0, 1]"""
    digest: str
    """sha256 of the file"""


def read_submitted(path: Path, dataset: Dataset) -> Submitted:
    """Reads an npz file of examples.

    Args:
        path: ``x_adv`` (uint8, or float in [0, 1]; (M, C, H, W), or (M, H, W, C) where that can't be mistaken), and either
            ``sample_ids`` (M texts) or ``positions`` (M integers, as in the records). With neither, M is the number of
            samples, in the order of the dataset's selection.
        dataset: the images of the run.

    Raises:
        SubmissionError: for anything else, naming the file, the key and what would be accepted.
    """
    try:
        arrays = _arrays(path)
        x_adv = _images(arrays[IMAGES], dataset, path)
        digest = file_digest(path)
    except (DatasetError, OSError) as error:
        raise SubmissionError(str(error)) from error
    return Submitted(_places(arrays, len(x_adv), dataset, path), x_adv, digest)


def _arrays(path: Path) -> dict[str, AnyArray]:
    """What the file holds; a key that nobody reads may be a misspelled one, and is refused."""
    with opened(path) as archive:
        if isinstance(archive, np.ndarray):
            raise SubmissionError(f"{path}: a single array (accepted: an npz file with {IMAGES})")
        there = ", ".join(archive.files) or "none"
        if IMAGES not in archive.files:
            raise SubmissionError(f"{path}: {IMAGES}: missing; keys there: {there} (accepted: {', '.join(_KEYS)})")
        unknown = [key for key in archive.files if key not in _KEYS]
        if unknown:
            raise SubmissionError(f"{path}: unknown key {unknown[0]!r} (accepted: {', '.join(_KEYS)})")
        arrays = {key: np.asarray(archive[key]) for key in archive.files}
    if IDS in arrays and POSITIONS in arrays:
        raise SubmissionError(f"{path}: both {IDS} and {POSITIONS} (accepted: one of them)")
    return arrays


def _images(x: AnyArray, dataset: Dataset, path: Path) -> npt.NDArray[np.float32]:
    channels, height, width = dataset.shape
    where = f"{path}: {IMAGES}"
    layouts: dict[tuple[int, ...], Layout] = {(height, width, channels): "nhwc", (channels, height, width): "nchw"}
    layout = layouts.get(x.shape[1:])
    if layout is None or not len(x):
        raise SubmissionError(
            f"{where}: shape {x.shape} (accepted: (M, {channels}, {height}, {width}), or (M, {height}, {width}, {channels}), "
            "with M at least 1)"
        )
    images = check_images(x, layout=layout, where=where)
    # As the dataset makes floats of bytes, so that what was stored as bytes is the same image.
    return images.astype(np.float32) / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32)


def _places(arrays: dict[str, AnyArray], count: int, dataset: Dataset, path: Path) -> npt.NDArray[np.int64]:
    if IDS in arrays:
        ids = arrays[IDS]
        if ids.dtype.kind not in "US" or ids.shape != (count,):
            raise SubmissionError(f"{path}: {IDS}: {_kind(ids)} (accepted: {count} texts, one for each image)")
        texts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in ids.tolist()]
        return _found(texts, dataset.sample_ids, f"{path}: {IDS}")
    if POSITIONS in arrays:
        positions = arrays[POSITIONS]
        if positions.dtype.kind not in "iu" or positions.shape != (count,):
            raise SubmissionError(f"{path}: {POSITIONS}: {_kind(positions)} (accepted: {count} integers)")
        return _found(positions.tolist(), dataset.positions.tolist(), f"{path}: {POSITIONS}")
    if count != len(dataset):
        raise SubmissionError(
            f"{path}: {count} images for the run's {len(dataset)} samples; say which ones in {IDS} or {POSITIONS}"
        )
    return np.arange(count, dtype=np.int64)


def _kind(array: AnyArray) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _found(wanted: Sequence[_Name], known: Sequence[_Name], where: str) -> npt.NDArray[np.int64]:
    places = {name: place for place, name in enumerate(known)}
    unknown = [name for name in wanted if name not in places]
    if unknown:
        raise SubmissionError(
            f"{where}: {len(unknown)} of {len(wanted)} aren't in the run, first {unknown[0]!r} (accepted: its "
            f"{len(known)} samples, such as {known[0]!r})"
        )
    twice = [name for name, count in Counter(wanted).items() if count > 1]
    if twice:
        raise SubmissionError(f"{where}: {twice[0]!r} stands there twice (accepted: each sample once)")
    return np.asarray([places[name] for name in wanted], dtype=np.int64)
