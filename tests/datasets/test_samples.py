"""The 20 samples that foolbox ships."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from bench import datasets
from bench.datasets.base import Dataset
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

SHAPES = {
    "mnist": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
    "imagenet": (3, 224, 224),
}


def load(**spec: Any) -> Dataset:
    return datasets.load(DatasetSpec(source="samples", **spec), Places(download=False))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [(name, name) for name in SHAPES if name != "fashion_mnist"] + [("fashion_mnist", "fashionMNIST")],
)
def test_images_and_labels_are_foolboxs(name: str, theirs: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from foolbox.utils import _samples
    # A prefix of a name is enough for foolbox: its "mnist_00_" would also match "fashionmnist_00_".
    x, y = _samples(theirs, 0, 20, (224, 224), "channels_first", (0, 255))
    data = load(name=name)
    assert data.shape == SHAPES[name]
    assert np.array_equal(data.images.astype(np.float32), x)
    assert data.labels.tolist() == y.tolist()
    assert data.note == "smoke test: 20 images"
    assert data.sample_ids[19] == f"{name}/samples/19"


def test_class_names_fit_the_labels() -> None:
    data = load(name="cifar10", samples=4)
    assert [data.class_names[label] for label in data.labels] == ["cat", "ship", "ship", "airplane"]
    hundred = load(name="cifar100", samples=4)
    assert [hundred.class_names[label] for label in hundred.labels] == ["mountain", "forest", "seal", "mushroom"]
    assert len(hundred.class_names) == 100
    assert list(hundred.class_names) == sorted(hundred.class_names)


def test_refusals() -> None:
    with pytest.raises(DatasetError, match="there are 20"):
        load(name="cifar10", samples=21)
    with pytest.raises(DatasetError, match="takes no path"):
        load(name="cifar10", path="x.npz")
    with pytest.raises(DatasetError, match="the samples are test images"):
        load(name="cifar10", split="train")
    with pytest.raises(DatasetError, match="takes no further parameters, got x_key"):
        load(name="cifar10", x_key="x")
    with pytest.raises(DatasetError, match="'samples' is not one of its sources"):
        load(name="npz")
