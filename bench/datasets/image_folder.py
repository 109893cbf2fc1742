"""Any folder with one directory of images per class."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import _imports
from bench.datasets.parameters import ImageFolderParameters
from bench.datasets.pixels import open_image, stack_images, to_array
from bench.datasets.source import Images, Positions, Source
from bench.digests import file_digest, listing_digest, value_digest
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
READ_WHOLE = 64 << 20
"""Folders up to this many bytes are read for their digest; of larger ones names and sizes count."""


def image_folder(spec: DatasetSpec, parameters: ImageFolderParameters, places: Places) -> Source:
    """The images of ``<path>/<split>/<class>/*``, or of ``<path>/<class>/*`` where there is no such directory.

    Classes are numbered in the order of their names; an image's id is its path below the folder.

    Raises:
        DatasetError: if there are no classes, an empty class, or fewer than two classes.
    """
    root = Path(spec.path or "").expanduser()
    root = root / spec.split if (root / spec.split).is_dir() else root
    if not root.is_dir():
        raise DatasetError(f"{spec.name}: path: {root} is not a directory (accepted: one with a directory per class)")
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise DatasetError(f"{root}: {len(classes)} class directories (accepted: one directory per class, two or more)")
    found: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(path for path in (root / name).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not images:
            raise DatasetError(f"{root / name}: no images (accepted: {', '.join(SUFFIXES)})")
        found += images
        labels += [label] * len(images)
    return Source(
        labels=np.array(labels, dtype=np.int64),
        sample_ids=tuple(path.relative_to(root).as_posix() for path in found),
        decode=partial(_decode, found, root, parameters),
        num_classes=len(classes),
        class_names=tuple(classes),
        digest=value_digest({"files": files_digest(found, root), "parameters": parameters.model_dump(mode="json")}),
    )


def files_digest(found: list[Path], root: Path) -> str:
    """The sha256 of images below a directory: of their bytes, or of the listing where they are many.

    Args:
        found: the files.
        root: names are relative to it.
    """
    listing = [(path.relative_to(root).as_posix(), path.stat().st_size) for path in found]
    if sum(size for _, size in listing) > READ_WHOLE:
        return listing_digest(listing)
    return value_digest(sorted((name, file_digest(root / name)) for name, _ in listing))


def _decode(found: list[Path], root: Path, parameters: ImageFolderParameters, positions: Positions) -> Images:
    chosen = [found[position] for position in positions]
    names = [path.relative_to(root).as_posix() for path in chosen]
    transforms = _transforms(parameters)
    return stack_images(
        (_pixels(path, name, parameters, transforms) for path, name in zip(chosen, names, strict=True)), names
    )


def _pixels(path: Path, name: str, parameters: ImageFolderParameters, transforms: list[Any]) -> Any:  # Any: torchvision
    """One image, resized and cropped, shape (C, H, W), uint8."""
    image = open_image(path, channels=parameters.channels, where=name)
    for transform in transforms:
        side = getattr(transform, "size", (0, 0))
        if type(transform).__name__ == "CenterCrop" and (image.height < side[0] or image.width < side[1]):
            size = f"{image.height}x{image.width}"
            raise DatasetError(
                f"{name}: crop: {side[0]} is larger than the image, {size} (height x width); resize first"
            )
        image = transform(image)
    return to_array(image)


def _transforms(parameters: ImageFolderParameters) -> list[Any]:  # Any: torchvision's transforms
    if parameters.resize is None and parameters.crop is None:
        return []
    module = _imports.torchvision("torchvision.transforms")
    chosen = []
    if parameters.resize is not None:
        mode = module.InterpolationMode(parameters.interpolation)
        size = parameters.resize if isinstance(parameters.resize, int) else list(parameters.resize)
        chosen.append(module.Resize(size, interpolation=mode))
    if parameters.crop is not None:
        chosen.append(module.CenterCrop(parameters.crop))
    return chosen
