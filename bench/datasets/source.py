"""A dataset before any image is selected: labels and ids of all, images decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Source:
    """All that a dataset holds.

    Attributes:
        labels: shape (N,), int64.
        sample_ids: N stable ids.
        decode: images at these positions, shape (n, C, H, W), uint8 in 0..255 or float32 in [0, 1].
        num_classes: number of classes.
        class_names: names of the classes, or empty.
        digest: sha256 of the source and its preprocessing.
        note: what a reader of a number must know.
    """

    labels: Labels
    sample_ids: Sequence[str]
    decode: Callable[[Positions], Images]
    num_classes: int
    class_names: tuple[str, ...]
    digest: str
    note: str = ""


def numbered(prefix: str, count: int) -> tuple[str, ...]:
    """Ids such as ``cifar10/test/00012`` from positions."""
    return tuple(f"{prefix}/{position:05d}" for position in range(count))
