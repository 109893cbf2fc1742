"""The 20 real samples of a dataset that foolbox ships: for smoke tests only."""

from __future__ import annotations

import importlib.util
import re
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from bench.datasets.classes import CIFAR10, CIFAR100, DIGITS, FASHION
from bench.datasets.pixels import open_image, stack_images, to_array
from bench.datasets.source import Images, Positions, Source
from bench.digests import file_digest, value_digest
from bench.errors import DatasetError
from bench.suites.spec import DatasetSpec

_FILE = re.compile(r"([A-Za-z0-9]+)_(\d\d)_(\d+)\.(?:png|jpg)")
_PREFIXES = {"mnist": "mnist", "fashion_mnist": "fashionMNIST", "cifar10": "cifar10", "cifar100": "cifar100"}
_PREFIXES["imagenet"] = "imagenet"
_CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": DIGITS,
    "fashion_mnist": FASHION,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
}
_IMAGENET_SIDE, _IMAGENET_CLASSES = 224, 1000


def samples(spec: DatasetSpec) -> Source:
    """The samples of a dataset, read from foolbox's directory of images (the label stands in the file's name).

    ImageNet's are resized to 224x224 as foolbox does (bicubic).

    Raises:
        DatasetError: with a ``path``, for the training split, or where foolbox lacks the images.
    """
    if spec.path is not None:
        raise DatasetError(f"{spec.name}: source: samples takes no path; leave out one of the two")
    if spec.split == "train":
        raise DatasetError(f"{spec.name}: split: the samples are test images (accepted: test)")
    if spec.args:
        raise DatasetError(f"{spec.name}: source: samples takes no further parameters, got {', '.join(spec.args)}")
    prefix = _PREFIXES[spec.name]
    folder = _folder()
    found = sorted(path for path in folder.glob(f"{prefix}_*") if _FILE.fullmatch(path.name))
    if len(found) != 20:
        raise DatasetError(
            f"{spec.name}: foolbox holds {len(found)} samples instead of 20 in {folder}; reinstall foolbox"
        )
    labels = np.array([int(path.stem.rpartition("_")[2]) for path in found], dtype=np.int64)
    names = _CLASSES.get(spec.name, ())
    return Source(
        labels=labels,
        sample_ids=tuple(f"{spec.name}/samples/{index:02d}" for index in range(len(found))),
        decode=partial(_decode, found, spec.name),
        num_classes=len(names) or _IMAGENET_CLASSES,
        class_names=names,
        digest=value_digest([[path.name, file_digest(path)] for path in found]),
        note="smoke test: 20 images",
    )


def _folder() -> Path:
    """foolbox's directory of images, found without importing foolbox (which takes seconds)."""
    spec = importlib.util.find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise DatasetError("source: samples needs foolbox, which isn't installed")
    return Path(spec.origin).parent / "data"


def _decode(found: list[Path], name: str, positions: Positions) -> Images:
    chosen = [found[position] for position in positions]
    return stack_images((_pixels(path, name) for path in chosen), [path.name for path in chosen])


def _pixels(path: Path, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = open_image(path, channels=1 if "mnist" in name else 3, where=path.name)
    if name == "imagenet":
        image = image.resize((_IMAGENET_SIDE, _IMAGENET_SIDE), Image.Resampling.BICUBIC)
    return to_array(image)
