"""Digests of files, arrays and settings: what a cell's identity is made from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 20


def file_digest(path: Path) -> str:
    """The sha256 of a file, read once per process as long as its size and its time of change stay the same.

    Raises:
        OSError: if the file can't be read.
    """
    status = path.stat()
    return _file_digest(os.path.abspath(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_digest(path: str, size: int, changed: int) -> str:
    """Size and time of change are there for the cache's key."""
    state = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()


def value_digest(value: object) -> str:
    """The sha256 of a JSON value, keys sorted; anything that JSON doesn't know counts as its text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def arrays_digest(arrays: Mapping[str, npt.NDArray[np.generic]]) -> str:
    """The sha256 of named arrays: names, types, shapes and bytes, names sorted."""
    state = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        state.update(array.tobytes())
    return state.hexdigest()


def listing_digest(files: Iterable[tuple[str, int]]) -> str:
    """The sha256 of a sorted listing of (relative path, size): for folders too large to be read for a digest."""
    return hashlib.sha256("".join(f"{name}\t{size}\n" for name, size in sorted(files)).encode()).hexdigest()
