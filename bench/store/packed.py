"""Columns of numbers in as few bytes as hold them exactly: a run of many cells has many of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
AnyArray = npt.NDArray[Any]  # Any: numbers of whatever type holds them exactly
_TYPES = (np.uint8, np.uint16, np.float32)


class Packer:
    """Packs columns, and keeps those that are equal once: clean verdicts are the same in all cells of a model."""

    def __init__(self) -> None:
        self._known: dict[bytes, AnyArray] = {}

    def pack(self, values: FloatArray) -> AnyArray:
        """The same numbers; what is returned must not be written to.

        Args:
            values: shape (n,).
        """
        packed = _narrow(values)
        return self._known.setdefault(hashlib.sha256(packed.dtype.char.encode() + packed.tobytes()).digest(), packed)


def _narrow(values: FloatArray) -> AnyArray:
    """In the smallest type that holds them exactly."""
    for kind in _TYPES:
        with np.errstate(invalid="ignore", over="ignore"):
            smaller = values.astype(kind)
        if np.array_equal(smaller.astype(np.float64), values, equal_nan=True):
            return smaller
    return values
