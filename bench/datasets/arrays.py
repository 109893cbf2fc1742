"""Images and labels as arrays: what is accepted, and what is refused with the reason.

A wrong range or layout gives a number that looks real, so nothing is guessed that could be guessed wrongly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.datasets.parameters import Layout
from bench.datasets.source import Images, Labels
from bench.errors import DatasetError

AnyArray = npt.NDArray[Any]  # Any: an array as a file holds it, before it is checked

_CHANNELS = (1, 3)


def check_images(x: AnyArray, *, layout: Layout = "auto", where: str) -> Images:
    """Images as the harness takes them.

    Args:
        x: as the file holds them: (N, C, H, W), (N, H, W, C) or grey (N, H, W); uint8, or float in [0, 1].
        layout: order of the axes.
        where: file and key, for messages.

    Returns:
        Shape (N, C, H, W), uint8 or float32.

    Raises:
        DatasetError: for any other type, rank, layout or range.
    """
    if x.dtype.kind not in "fu" or (x.dtype.kind == "u" and x.dtype != np.uint8):
        raise DatasetError(f"{where}: images of type {x.dtype} (accepted: uint8 in 0..255, or float in [0, 1])")
    if x.ndim not in (3, 4) or 0 in x.shape:
        state = "empty" if 0 in x.shape else f"of rank {x.ndim}"
        raise DatasetError(
            f"{where}: images {state}, shape {x.shape} (accepted: (N, C, H, W), (N, H, W, C), grey (N, H, W))"
        )
    _check_range(x, where)
    ordered = _channels_first(x, layout, where)
    return ordered if ordered.dtype == np.uint8 else ordered.astype(np.float32, copy=False)


def check_labels(y: AnyArray, *, count: int, num_classes: int | None, where: str) -> Labels:
    """Labels as the harness takes them.

    Args:
        y: integers, shape (N,) or (N, 1).
        count: number of images.
        num_classes: labels lie in 0..num_classes - 1; ``None`` where only the file knows.
        where: file and key, for messages.

    Returns:
        Shape (N,), int64.

    Raises:
        DatasetError: for any other type, length or range.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        hint = "; one-hot labels aren't accepted, take their argmax" if y.ndim == 2 else ""
        raise DatasetError(f"{where}: labels of shape {y.shape} (accepted: ({count},), one integer per image){hint}")
    if y.dtype.kind not in "iu":
        raise DatasetError(f"{where}: labels of type {y.dtype} (accepted: integers)")
    if len(y) != count:
        raise DatasetError(f"{where}: {len(y)} labels for {count} images")
    top = f"0..{num_classes - 1}" if num_classes is not None else "0 and above"
    wrong = np.flatnonzero((y < 0) | (y >= num_classes if num_classes is not None else np.zeros(len(y), bool)))
    if len(wrong):
        raise DatasetError(f"{where}: label {y[wrong[0]]} of image {wrong[0]} is out of range (accepted: {top})")
    return y.astype(np.int64)


def check_shape(images: Images, shape: tuple[int, int, int], *, where: str) -> None:
    """Refuses images that aren't (C, H, W) = ``shape``.

    Raises:
        DatasetError: naming both shapes.
    """
    if images.shape[1:] != shape:
        raise DatasetError(f"{where}: images of shape {images.shape[1:]} (accepted: {shape}, as (C, H, W))")


def _check_range(x: AnyArray, where: str) -> None:
    """Floats in [0, 1]; uint8 that isn't [0, 1] cut down to whole numbers."""
    if x.dtype == np.uint8:
        if x.max() == 1:
            raise DatasetError(f"{where}: uint8 images of 0 and 1 only: nearly black in 0..255; store float in [0, 1]")
        return
    low, high = float(x.min()), float(x.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(1))
        raise DatasetError(f"{where}: {len(bad)} images hold NaN or infinity, the first is image {bad[0]}")
    seen = f"float images from {low:.6g} to {high:.6g}"
    if low < 0:
        raise DatasetError(f"{where}: {seen} (accepted: [0, 1]); normalisation belongs to the model (its mean and std)")
    if high > 2:
        raise DatasetError(f"{where}: {seen} (accepted: [0, 1]); looks like 0..255: divide by 255 or store uint8")
    if high > 1:
        raise DatasetError(f"{where}: {seen} (accepted: [0, 1]); clip them where they were made")
    if 0 < high <= 1 / 255:
        raise DatasetError(f"{where}: {seen} (accepted: [0, 1]); looks divided by 255 twice")


def _channels_first(x: AnyArray, layout: Layout, where: str) -> AnyArray:
    if x.ndim == 3:
        return x[:, None]
    if layout == "auto":
        first, last = x.shape[1] in _CHANNELS, x.shape[3] in _CHANNELS
        if first == last:
            reason = "both the second and the last axis" if first else "neither the second nor the last axis"
            raise DatasetError(
                f"{where}: layout: images of shape {x.shape}: {reason} has 1 or 3 channels; say nchw or nhwc"
            )
        layout = "nchw" if first else "nhwc"
    return x if layout == "nchw" else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
