"""Images and labels as arrays: what is accepted, and each refusal with its reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.datasets.arrays import check_images, check_labels, check_shape
from bench.errors import DatasetError

RNG = np.random.default_rng(0)
GREY = RNG.random((4, 1, 8, 8), dtype=np.float32)
COLOUR = RNG.integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)


def test_nchw_uint8_stays_as_it_is() -> None:
    checked = check_images(COLOUR, where="f")
    assert checked.dtype == np.uint8
    assert np.array_equal(checked, COLOUR)


@given(st.sampled_from([1, 3]), st.integers(4, 9), st.integers(4, 9), st.sampled_from(["auto", "nhwc"]))
def test_nhwc_is_turned_round(channels: int, height: int, width: int, layout: Any) -> None:
    x = RNG.integers(2, 256, (2, channels, height, width), dtype=np.uint8)
    assert np.array_equal(check_images(x.transpose(0, 2, 3, 1), layout=layout, where="f"), x)


def test_grey_without_an_axis_of_channels_gets_one() -> None:
    assert np.array_equal(check_images(GREY[:, 0], where="f"), GREY)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_floats_become_float32(dtype: Any) -> None:
    x = GREY.astype(dtype)
    checked = check_images(x, where="f")
    assert checked.dtype == np.float32
    assert np.array_equal(checked, x.astype(np.float32))


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (COLOUR.astype(np.float32), "looks like 0..255: divide by 255 or store uint8"),
        (GREY * 2 - 1, "normalisation belongs to the model"),
        (GREY * 1.01 + 0.01, "clip them where they were made"),
        (GREY / 255 / 255, "looks divided by 255 twice"),
        ((GREY > 0.5).astype(np.uint8), "nearly black"),
        (COLOUR.astype(np.int64), "images of type int64"),
        (COLOUR.astype(np.uint16), "images of type uint16"),
        (GREY > 0.5, "images of type bool"),
        (GREY.astype(complex), "images of type complex128"),
        (np.array([["a"]]), "images of type <U1"),
        (COLOUR.reshape(4, -1), "rank 2"),
        (COLOUR[None], "rank 5"),
        (COLOUR[:0], "images empty"),
        (np.zeros((2, 3, 0, 4), np.uint8), "images empty"),
        (np.zeros((2, 3, 8, 3), np.uint8), "both the second and the last axis"),
        (np.zeros((2, 4, 8, 8), np.uint8), "neither the second nor the last axis"),
    ],
)
def test_refusals_say_why(x: Any, reason: str) -> None:
    with pytest.raises(DatasetError, match=r"^file\.npz: x: ") as error:
        check_images(x, where="file.npz: x")
    assert reason in str(error.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_a_number_names_the_image(bad: float) -> None:
    x = GREY.copy()
    x[2, 0, 1, 1] = bad
    with pytest.raises(DatasetError, match="1 images hold NaN or infinity, the first is image 2"):
        check_images(x, where="f")


def test_black_images_are_images() -> None:
    assert check_images(np.zeros((1, 1, 4, 4), np.float32), where="f").max() == 0


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_of_one_column(shape: tuple[int, ...]) -> None:
    y = np.array([3, 1, 0, 2], dtype=np.uint8).reshape(shape)
    checked = check_labels(y, count=4, num_classes=4, where="f")
    assert checked.dtype == np.int64
    assert checked.tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize(
    ("y", "reason"),
    [
        (np.array([0.0, 1.0]), "labels of type float64"),
        (np.array([True, False]), "labels of type bool"),
        (np.array(["cat", "dog"]), "labels of type <U3"),
        (np.eye(2, dtype=int), "one-hot labels aren't accepted"),
        (np.array(1), "labels of shape ()"),
        (np.array([0, 1, 1]), "3 labels for 2 images"),
        (np.array([0, 10]), "label 10 of image 1 is out of range (accepted: 0..9)"),
        (np.array([-1, 1]), "label -1 of image 0 is out of range"),
    ],
)
def test_label_refusals_say_why(y: Any, reason: str) -> None:
    with pytest.raises(DatasetError) as error:
        check_labels(y, count=2, num_classes=10, where="f")
    assert reason in str(error.value)


def test_a_negative_label_is_refused_without_a_number_of_classes() -> None:
    with pytest.raises(DatasetError, match="label -3 of image 1"):
        check_labels(np.array([0, -3]), count=2, num_classes=None, where="f")


def test_another_shape_is_named() -> None:
    with pytest.raises(DatasetError, match=r"\(3, 8, 8\) \(accepted: \(3, 32, 32\)"):
        check_shape(COLOUR, (3, 32, 32), where="f")
