"""ImageNet's validation folder, with RobustBench's images and preprocessing (Croce et al. 2021, arXiv:2010.09670)."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import _imports
from bench.datasets.image_folder import SUFFIXES
from bench.datasets.parameters import ImagenetParameters
from bench.datasets.pixels import stack_images
from bench.datasets.source import Images, Positions, Source
from bench.digests import listing_digest, value_digest
from bench.errors import DatasetError, DatasetUnavailable
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

_CLASSES = 1000
_FORMS = "a directory with val/, or one with the 1,000 directories n01440764 to n15075141 of validation images"


def imagenet(spec: DatasetSpec, parameters: ImagenetParameters, places: Places) -> Source:
    """The validation images, in RobustBench's order: its own list of 5,000, or all 50,000 by name.

    The folder is ``path``, else ``imagenet`` in the data directory. RobustBench's loader makes the list and reads the
    images; an image's id is its path, such as ``n01440764/ILSVRC2012_val_00000293.JPEG``.

    Raises:
        DatasetError: if the folder, a class or a listed image is missing.
    """
    if spec.split == "train":
        raise DatasetError(
            "imagenet: split: the training images are not served (accepted: test or val, the same images)"
        )
    root = _validation_folder(spec, places)
    samples = _samples(root, parameters)
    listing = [(path.relative_to(root).as_posix(), _size(path)) for path, _ in samples]
    files = listing_digest(listing) if parameters.images == "all" else value_digest(listing)
    names = tuple(name for name, _ in listing)
    return Source(
        labels=np.array([label for _, label in samples], dtype=np.int64),
        sample_ids=names,
        decode=partial(_decode, root, names, parameters.preprocessing),
        num_classes=_CLASSES,
        class_names=(),
        digest=value_digest({"files": files, "preprocessing": parameters.preprocessing}),
    )


def _validation_folder(spec: DatasetSpec, places: Places) -> Path:
    given = Path(spec.path).expanduser() if spec.path is not None else places.data_dir / "imagenet"
    for root in (given / "val", given):
        if root.is_dir():
            break
    else:
        place = f"path: {given}" if spec.path is not None else f"{given} (BENCH_DATA_DIR)"
        raise DatasetUnavailable(
            f"imagenet: {place}: no such directory; ImageNet can't be downloaded, its licence asks every user to agree"
            f" (accepted: {_FORMS})"
        )
    there = {entry.name for entry in root.iterdir() if entry.is_dir()}
    wanted = set(_class_numbers())
    if there != wanted:
        missing, other = sorted(wanted - there), sorted(there - wanted)
        seen = f"{len(missing)} of the 1,000 classes are missing" if missing else f"{len(other)} other directories"
        example = (missing or other)[0]
        raise DatasetError(f"imagenet: {root}: {seen}, such as {example} (accepted: {_FORMS})")
    return root


def _class_numbers() -> dict[str, int]:
    """RobustBench's numbers of the classes, by WordNet id."""
    package = _imports.robustbench()
    file = Path(package.__file__).parent / "helper_files" / "imagenet_class_to_id_map.json"
    numbers: dict[str, int] = json.loads(file.read_text())
    return numbers


def _samples(root: Path, parameters: ImagenetParameters) -> list[tuple[Path, int]]:
    """Files and labels, in order."""
    if parameters.images == "all":
        return [
            (path, number)
            for name, number in sorted(_class_numbers().items())
            for path in sorted((root / name).iterdir())
            if path.suffix.lower() in SUFFIXES
        ]
    folder = _imports.robustbench("robustbench.loaders").CustomImageFolder(str(root))
    return [(Path(path), int(label)) for path, label in folder.samples]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DatasetError(f"imagenet: {path}: RobustBench's list names it, and it can't be read: {error}") from error


def _decode(root: Path, names: tuple[str, ...], preprocessing: str, positions: Positions) -> Images:
    data = _imports.robustbench("robustbench.data")
    loader = _imports.robustbench("robustbench.loaders").default_loader
    transform = data.PREPROCESSINGS[None if preprocessing == "none" else preprocessing]
    chosen = [names[position] for position in positions]
    return stack_images((_pixels(root / name, loader, transform) for name in chosen), chosen)


def _pixels(path: Path, loader: Any, transform: Any) -> npt.NDArray[np.uint8]:  # Any: RobustBench's functions
    """One image as RobustBench sees it; its k / 255 become k again, so that images take a quarter of the memory."""
    try:
        tensor = transform(loader(str(path)))
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(f"imagenet: {path}: not a readable image: {error}") from error
    pixels: npt.NDArray[np.uint8] = (tensor * 255).round().byte().numpy()
    return pixels
