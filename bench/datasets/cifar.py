"""CIFAR-10 and CIFAR-100: torchvision's files, or a directory, parquet, npz or npy that ``path`` names."""

from __future__ import annotations

import contextlib
import http.client
import io
import tarfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench import _imports
from bench.datasets.arrays import check_images, check_labels, check_shape
from bench.datasets.classes import CIFAR10, CIFAR100
from bench.datasets.known import Known, check_alone, check_split, from_path
from bench.datasets.npz import Arrays, array_source
from bench.datasets.parameters import KnownParameters
from bench.datasets.source import Source
from bench.digests import file_digest, value_digest
from bench.errors import DatasetError, DatasetUnavailable
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec


class _Cifar(NamedTuple):
    """torchvision's class, the directory that its archive unpacks to, and the names of the classes."""

    torchvision_class: str
    folder: str
    class_names: tuple[str, ...]

    @property
    def known(self) -> Known:
        forms = (
            f"a directory that holds {self.folder} (the published Python version), a parquet file or directory,"
            " an npz file, an npy file with labels"
        )
        return Known((3, 32, 32), self.class_names, forms)


_CIFAR10 = _Cifar("CIFAR10", "cifar-10-batches-py", CIFAR10)
_CIFAR100 = _Cifar("CIFAR100", "cifar-100-python", CIFAR100)


def cifar10(spec: DatasetSpec, parameters: KnownParameters, places: Places) -> Source:
    """CIFAR-10 (Krizhevsky 2009)."""
    return _open(_CIFAR10, spec, parameters, places)


def cifar100(spec: DatasetSpec, parameters: KnownParameters, places: Places) -> Source:
    """CIFAR-100 with its fine labels (Krizhevsky 2009)."""
    return _open(_CIFAR100, spec, parameters, places)


def _open(cifar: _Cifar, spec: DatasetSpec, parameters: KnownParameters, places: Places) -> Source:
    check_split(spec)
    root = _root(cifar, spec.path)
    if root is None:
        return from_path(spec, parameters, cifar.known)
    if spec.path is None:
        check_alone(spec)
        if not (places.data_dir / cifar.folder).is_dir():
            return _downloaded(cifar, spec, places)
        root = places.data_dir
    return _read(cifar, spec, root, download=False)


def _root(cifar: _Cifar, path: str | None) -> Path | None:
    """The directory that holds the published files; ``None`` where ``path`` names something else."""
    if path is None:
        return Path()
    given = Path(path).expanduser()
    if (given / cifar.folder).is_dir():
        return given
    return given.parent if given.name == cifar.folder and given.is_dir() else None


def _downloaded(cifar: _Cifar, spec: DatasetSpec, places: Places) -> Source:
    """torchvision's download into the data directory."""
    hint = f"give path: {cifar.known.forms}; or put {cifar.folder} into {places.data_dir} (BENCH_DATA_DIR)"
    if not places.download:
        raise DatasetUnavailable(f"{spec.name}: not in {places.data_dir}, and downloads are off; {hint}")
    try:
        return _read(cifar, spec, places.data_dir, download=True)
    except (OSError, RuntimeError, http.client.HTTPException, tarfile.TarError) as error:
        raise DatasetUnavailable(
            f"{spec.name}: not in {places.data_dir}, and the download failed: {error}; {hint}"
        ) from error


def _read(cifar: _Cifar, spec: DatasetSpec, root: Path, *, download: bool) -> Source:
    """The published files through torchvision, which checks their digests before it unpickles them."""
    dataset_class = getattr(_imports.torchvision("torchvision.datasets"), cifar.torchvision_class)
    try:
        images, labels = _unpickled(dataset_class, root, train=spec.split == "train", download=download)
    except (OSError, RuntimeError) as error:
        if download:
            raise
        where = root / cifar.folder
        raise DatasetError(f"{spec.name}: {where}: missing or damaged files: {error}") from error
    place = str(root / cifar.folder)
    x = check_images(images, layout="nhwc", where=place)
    check_shape(x, cifar.known.shape, where=place)
    y = check_labels(labels, count=len(x), num_classes=len(cifar.class_names), where=place)
    names = [name for name, _ in (dataset_class.train_list if spec.split == "train" else dataset_class.test_list)]
    digest = value_digest([[name, file_digest(root / cifar.folder / name)] for name in names])
    return array_source(Arrays(x, y, digest), spec, num_classes=None, class_names=cifar.class_names)


def _unpickled(dataset_class: Any, root: Path, *, train: bool, download: bool) -> tuple[Any, Any]:  # Any: torchvision
    """Images (N, H, W, C) and labels; torchvision's progress bar is swallowed."""
    swallowed = io.StringIO()
    with contextlib.redirect_stdout(swallowed), contextlib.redirect_stderr(swallowed), warnings.catch_warnings():
        # The published pickles store a dtype's alignment as a number, which some releases of NumPy warn of.
        warnings.filterwarnings("ignore", message=r".*align should be passed", category=UserWarning)
        dataset = dataset_class(str(root), train=train, download=download)
    return dataset.data, np.asarray(dataset.targets)
