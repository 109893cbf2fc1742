"""IDX files: the format in which MNIST and Fashion-MNIST are published, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.errors import DatasetError

_UNSIGNED_BYTE = 0x08
_PREFIX = {"train": "train", "test": "t10k"}


class IdxPair(NamedTuple):
    """The files of images and labels of one split."""

    images: Path
    labels: Path


def find_pair(path: Path, split: str) -> IdxPair | None:
    """The files of a split, in a directory or beside the file of images that ``path`` names, or ``None``."""
    prefix = _PREFIX.get(split, split)
    folder = path if path.is_dir() else path.parent
    images = path if path.is_file() else _present(folder, f"{prefix}-images-idx3-ubyte", f"{prefix}-images.idx3-ubyte")
    if images is None or "idx3" not in images.name:
        return None
    stem = images.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    labels = _present(folder, stem)
    if labels is None:
        raise DatasetError(f"{images}: no file of labels beside it (accepted: {stem} or {stem}.gz)")
    return IdxPair(images, labels)


def read(path: Path) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes.

    Raises:
        DatasetError: if it can't be read or isn't such a file.
    """
    try:
        raw = path.read_bytes()
        data = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path}: can't be read: {error}") from error
    if len(data) < 4 or data[:2] != b"\x00\x00" or data[2] != _UNSIGNED_BYTE or len(data) < 4 + 4 * data[3]:
        raise DatasetError(f"{path}: not an IDX file of unsigned bytes")
    rank = data[3]
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank)
    if len(values) != math.prod(shape):
        raise DatasetError(f"{path}: truncated or damaged: {len(values)} bytes for shape {shape}")
    return values.reshape(shape)


def _present(folder: Path, *names: str) -> Path | None:
    for name in names:
        for candidate in (folder / name, folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    return None
