"""Any npz file of images and labels, or a pair of npy files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.datasets.arrays import AnyArray, check_images, check_labels
from bench.datasets.parameters import ArrayParameters, NpzParameters
from bench.datasets.source import Images, Labels, Source, numbered
from bench.digests import file_digest, value_digest
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

SUFFIXES = (".npz", ".npy")


class Arrays(NamedTuple):
    """Checked images and labels, and the digest of the files and of how they were read."""

    images: Images
    labels: Labels
    digest: str


def npz(spec: DatasetSpec, parameters: NpzParameters, places: Places) -> Source:
    """The images of ``spec.path``; the same file serves every split."""
    path = Path(spec.path or "").expanduser()
    arrays = read_arrays(path, parameters, num_classes=parameters.num_classes or (len(parameters.class_names) or None))
    return array_source(arrays, spec, num_classes=parameters.num_classes, class_names=parameters.class_names)


def array_source(
    arrays: Arrays, spec: DatasetSpec, *, num_classes: int | None, class_names: tuple[str, ...], note: str = ""
) -> Source:
    """A source whose images are all in memory.

    Args:
        arrays: the images.
        spec: for the ids, ``name/split/position``.
        num_classes: number of classes; the number of names, else the largest label + 1, where it is ``None``.
        class_names: names of the classes, or empty.
        note: what a reader of a number must know.
    """
    images = arrays.images
    return Source(
        labels=arrays.labels,
        sample_ids=numbered(f"{spec.name}/{spec.split}", len(arrays.labels)),
        decode=lambda positions: images[positions],
        num_classes=num_classes or len(class_names) or int(arrays.labels.max()) + 1,
        class_names=class_names,
        digest=arrays.digest,
        note=note,
    )


def read_arrays(path: Path, parameters: ArrayParameters, *, num_classes: int | None) -> Arrays:
    """The images and labels of an npz file, or of an npy file and the npy file of labels that ``labels`` names.

    Args:
        path: ``.npz`` or ``.npy``.
        parameters: keys, file of labels, layout.
        num_classes: labels lie below; ``None`` where only the file knows.

    Raises:
        DatasetError: if a file is missing or damaged, or the arrays aren't images and labels.
    """
    if path.suffix == ".npy":
        labels_path = _labels_path(path, parameters.labels)
        x, y = _single(path), _single(labels_path)
        x_where, y_where, files = str(path), str(labels_path), [path, labels_path]
    else:
        if parameters.labels is not None:
            raise DatasetError(f"{path}: labels: goes with an npy file of images; an npz file has both (y_key)")
        x, y = _member(path, parameters.x_key, "x_key"), _member(path, parameters.y_key, "y_key")
        x_where, y_where, files = f"{path}: {parameters.x_key}", f"{path}: {parameters.y_key}", [path]
    images = check_images(x, layout=parameters.layout, where=x_where)
    labels = check_labels(y, count=len(images), num_classes=num_classes, where=y_where)
    how = {"x_key": parameters.x_key, "y_key": parameters.y_key, "layout": parameters.layout}
    return Arrays(images, labels, value_digest({"files": [file_digest(file) for file in files], **how}))


def _labels_path(path: Path, labels: str | None) -> Path:
    if labels is None:
        raise DatasetError(f"{path}: labels: missing; an npy file of images needs the npy file of its labels")
    beside = path.parent / Path(labels).expanduser()
    return beside if beside.exists() else Path(labels).expanduser()


def _single(path: Path) -> AnyArray:
    """The array of an npy file."""
    with opened(path) as array:
        if not isinstance(array, np.ndarray):
            raise DatasetError(f"{path}: an npz file, not a single array; name it .npz")
        return array


def _member(path: Path, key: str, parameter: str) -> AnyArray:
    """One array of an npz file."""
    with opened(path) as archive:
        if isinstance(archive, np.ndarray):
            raise DatasetError(f"{path}: a single array, not an npz file; name it .npy and give labels")
        if key not in archive.files:
            there = ", ".join(archive.files) or "the file is empty"
            raise DatasetError(f"{path}: {parameter}: no array {key!r} (accepted: {there})")
        return np.asarray(archive[key])


@contextmanager
def opened(path: Path) -> Iterator[Any]:  # Any: an array, or an archive of arrays
    """np.load without pickles: an object array could run any code.

    Raises:
        DatasetError: where the file is missing, damaged, or holds objects; also for what is read from it inside.
    """
    try:
        with path.open("rb") as file:
            yield np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such file") from None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DatasetError(f"{path}: not a readable npz or npy file: {error or 'it is empty'}") from error
    except ValueError as error:
        if "pickle" in str(error):
            message = "an object array or pickle, which could run any code, is not loaded; save plain arrays"
            raise DatasetError(f"{path}: {message}") from error
        raise DatasetError(f"{path}: truncated or damaged: {error}") from error
