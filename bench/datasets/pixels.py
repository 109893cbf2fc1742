"""Encoded images (PNG, JPEG) to arrays, through Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from bench.errors import DatasetError

_MODES = {1: "L", 3: "RGB"}
_GREY = ("1", "L", "LA")
_EIGHT_BIT = (*_GREY, "RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "RGBX")


def open_image(data: bytes | Path, *, channels: int | None, where: str) -> Image.Image:
    """An image, read whole, in grey or colour.

    Args:
        data: the encoded bytes, or a file.
        channels: 1 or 3; ``None`` keeps grey images grey and makes the others colour.
        where: for messages.

    Raises:
        DatasetError: if it can't be read, or has more than 8 bits per channel.
    """
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as image:
            if image.mode not in _EIGHT_BIT:
                raise DatasetError(
                    f"{where}: an image of mode {image.mode} (accepted: 8 bits per channel, grey or colour)"
                )
            depth = channels or (1 if image.mode in _GREY else 3)
            return image.convert(_MODES[depth])
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{where}: not a readable image: {error}") from error


def to_array(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels, shape (C, H, W), uint8."""
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def decode_image(data: bytes | Path, *, channels: int | None, where: str) -> npt.NDArray[np.uint8]:
    """The pixels of an encoded image, shape (C, H, W), uint8; see :func:`open_image`."""
    return to_array(open_image(data, channels=channels, where=where))


def stack_images(images: Iterable[npt.NDArray[np.uint8]], names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """One array, shape (n, C, H, W).

    Args:
        images: n arrays, each (C, H, W).
        names: their ids, for messages.

    Raises:
        DatasetError: if they differ in shape; names the first that does.
    """
    stacked: npt.NDArray[np.uint8] | None = None
    for index, image in enumerate(images):
        if stacked is None:
            stacked = np.empty((len(names), *image.shape), dtype=np.uint8)
        if image.shape != stacked.shape[1:]:
            raise DatasetError(
                f"{names[index]}: an image of shape {image.shape}, {names[0]} has {stacked.shape[1:]};"
                " all must have one shape, as (C, H, W) (an image_folder can resize and crop)"
            )
        stacked[index] = image
    if stacked is None:
        raise DatasetError("no images")
    return stacked
