"""Corruptions that a library makes from the suite's own images: ``imagecorruptions-imaug``.

It is Michaelis et al.'s package (arXiv:1907.07484) of the ImageNet-C functions with that benchmark's parameters, made for
images of at least 32 x 32 pixels, in 8 bits. The published CIFAR-10-C has other parameters (tuned for small images), so
these are not its images, and accuracies on the two can't be compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.datasets.base import Dataset
from bench.datasets.corruptions.base import Pixels
from bench.errors import DatasetError, DatasetUnavailable

LIBRARY = "imagecorruptions-imaug"
LIBRARIES = (LIBRARY, "numba", "opencv-python", "Pillow", "scikit-image", "scipy")
"""What computes pixels."""
REVISION = 1
"""Raised when what is done around the library changes an image."""
SMALLEST = 32
"""Pixels: smaller images are padded to this size by repeating their border, and cropped again."""
_OWN_GENERATOR = ("impulse_noise", "glass_blur")
"""Corruptions that take a seed; the others draw from NumPy's global generator."""


class Generated:
    """Corrupted images of a dataset, each from a seed of its own, whatever else is made before it.

    Args:
        dataset: the clean images, grey or in colour.
        seed: the suite's.

    Raises:
        DatasetUnavailable: where the library isn't installed.
        DatasetError: where the images have neither one nor three channels.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        try:
            self._corrupt: Any = importlib.import_module(
                "imagecorruptions"
            ).corrupt  # Any: a library without annotations
            self._versions = {name: metadata.version(name) for name in LIBRARIES}
        except ImportError as error:
            raise DatasetUnavailable(
                f"corruptions need the package {LIBRARY} ({error}): python -m pip install 'robustness-bench[corruptions]'; "
                "or give corruptions.path, the directory of the published files"
            ) from error
        if dataset.shape[0] not in (1, 3):
            raise DatasetError(f"corruptions: {dataset.name} has {dataset.shape[0]} channels (accepted: 1 or 3)")
        self._dataset, self._seed = dataset, seed

    def facts(self, corruption: str, severity: int) -> dict[str, Any]:  # Any: JSON values
        """The libraries' versions and the seed."""
        return {"made_by": self._versions, "seed": self._seed, "revision": REVISION}

    def images(self, corruption: str, severity: int, members: Sequence[int]) -> Pixels:
        """See :class:`bench.datasets.corruptions.base.Corruptions`."""
        clean = eight_bits(self._dataset.images[np.asarray(members, dtype=np.int64)])
        with _own_draws():
            made = [
                self._one(image, corruption, severity, self._dataset.sample_ids[member])
                for image, member in zip(clean, members, strict=True)
            ]
        return np.stack(made) if made else clean

    def _one(self, image: Pixels, corruption: str, severity: int, sample_id: str) -> Pixels:
        """One image, shape (C, H, W)."""
        channels, height, width = image.shape
        tall, wide = max(SMALLEST - height, 0), max(SMALLEST - width, 0)
        edges = ((tall // 2, tall - tall // 2), (wide // 2, wide - wide // 2))
        padded = np.pad(image.transpose(1, 2, 0), (*edges, (0, 0)), mode="edge")
        seed = _seed(self._seed, corruption, severity, sample_id)
        np.random.seed(seed)
        own = {"seed": seed} if corruption in _OWN_GENERATOR else {}
        made = self._corrupt(padded, severity=severity, corruption_name=corruption, **own)
        top, left = edges[0][0], edges[1][0]
        made = np.asarray(made, dtype=np.uint8)[top : top + height, left : left + width]
        if channels == 1:  # the library gives three channels, which noise makes different; the first is as good as any
            made = made[:, :, :1]
        return np.ascontiguousarray(made.transpose(2, 0, 1))


def eight_bits(images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> Pixels:
    """Images in 0..255, those in [0, 1] rounded.

    Args:
        images: any shape.
    """
    scale = 1 if images.dtype == np.uint8 else 255
    return np.rint(images * scale).astype(np.uint8)


def _seed(seed: int, corruption: str, severity: int, sample_id: str) -> int:
    """32 bits that no other image shares but by chance."""
    text = f"{seed}\n{corruption}\n{severity}\n{sample_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


@contextlib.contextmanager
def _own_draws() -> Iterator[None]:
    """Puts NumPy's global generator back, and swallows what the library prints."""
    state = np.random.get_state()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        np.random.set_state(state)
