"""What every source of corrupted images gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


class Corruptions(Protocol):
    """The corrupted variants of one dataset."""

    def facts(self, corruption: str, severity: int) -> dict[str, Any]:  # Any: JSON values
        """What the pixels of one corruption at one severity depend on: a library's version and seed, or the digest of files.

        Raises:
            DatasetError: where its files are missing or aren't of these images.
        """
        ...

    def images(self, corruption: str, severity: int, members: Sequence[int]) -> Pixels:
        """Corrupted images, shape (n, C, H, W), in 0..255.

        Args:
            corruption: name of the corruption.
            severity: from 1 to 5.
            members: places of the samples in the dataset's selection.

        Raises:
            DatasetError: where they can't be made or read.
        """
        ...
