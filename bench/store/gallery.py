"""Images for a gallery: the clean images of a few samples, kept with a run, their adversarial examples, and these purified."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.errors import StoreError
from bench.store.atomic import write_bytes
from bench.store.parts import Examples, check_version
from bench.store.records import SCHEMA_VERSION

if TYPE_CHECKING:
    from bench.store.run_directory import RunDirectory

FILE = "clean.safetensors"
IMAGES = 64
"""So many samples of a run, the first of its dataset, have their images kept for pictures."""


def write_clean(
    run: RunDirectory, sample_ids: Sequence[str], images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
) -> None:
    """Keeps the clean images of some samples, in place of those that were kept before; the same ones stay as they are.

    Args:
        run: the run.
        sample_ids: N ids.
        images: shape (N, C, H, W), uint8 in 0..255 or float32 in [0, 1]; kept as they are.

    Raises:
        ValueError: where ids and images don't match, or the images are of another type.
        StoreError: where the file can't be written.
    """
    from safetensors.numpy import save

    if len(sample_ids) != len(images) or images.ndim != 4:
        raise ValueError(f"{len(sample_ids)} ids need as many images (N, C, H, W), got shape {images.shape}")
    if images.dtype not in (np.uint8, np.float32):
        raise ValueError(f"images must be uint8 or float32, got {images.dtype}")
    metadata = {"schema_version": str(SCHEMA_VERSION), "sample_ids": json.dumps(list(sample_ids))}
    if _kept(run.path / FILE, metadata, images):  # the library writes the same metadata in another order each time
        return
    write_bytes(run.path / FILE, save({"x": np.ascontiguousarray(images)}, metadata=metadata))


def _kept(path: Path, metadata: Mapping[str, str], images: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> bool:
    """Whether a file has these very images."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            x, told = file.get_tensor("x"), file.metadata()
    except (SafetensorError, OSError):
        return False
    return told == metadata and x.dtype == images.dtype and bool(np.array_equal(x, images))


def read_clean(run: RunDirectory) -> Examples:
    """The clean images that were kept, float32 in [0, 1]; empty where there are none.

    Raises:
        StoreError: where the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    path = run.path / FILE
    if not path.is_file():
        return Examples((), np.zeros((0, 0, 0, 0), np.float32))
    try:
        with safe_open(path, framework="np") as file:
            sample_ids = tuple(json.loads((file.metadata() or {})["sample_ids"]))
            images = file.get_tensor("x")
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete it and run the suite again to get it back") from error
    if len(sample_ids) != len(images):
        raise StoreError(f"{path}: damaged: {len(sample_ids)} ids for {len(images)} images")
    x = images.astype(np.float32) / 255 if images.dtype == np.uint8 else images
    return Examples(sample_ids, x)


def read_some(run: RunDirectory, cell: str, sample_ids: Collection[str]) -> Examples:
    """The adversarial examples of these samples that a cell has kept; reads nothing else of its files.

    Args:
        run: the run.
        cell: id of the cell.
        sample_ids: which samples are wanted; those that weren't kept are left out.

    Raises:
        StoreError: where a file is damaged.
    """
    return _some(run.example_parts(cell), sample_ids, "delete it and its part under samples/ to compute it again")


def read_purified(run: RunDirectory, cell: str, sample_ids: Collection[str]) -> Examples:
    """What a purifier made of the adversarial examples of these samples, as far as it was kept.

    Args:
        run: the run.
        cell: id of the cell.
        sample_ids: which samples are wanted.

    Raises:
        StoreError: where a file is damaged.
    """
    return _some(run.purified_parts(cell), sample_ids, "delete it; only pictures are lost")


def _some(paths: Sequence[Path], sample_ids: Collection[str], remedy: str) -> Examples:
    from safetensors import SafetensorError, safe_open

    ids: list[str] = []
    images: list[npt.NDArray[np.float32]] = []
    for path in paths:
        try:
            with safe_open(path, framework="np") as file:
                metadata = file.metadata() or {}
                check_version(int(metadata["schema_version"]), path)
                stored = json.loads(metadata["sample_ids"])
                part = file.get_slice("x_adv")
                for index, sample in enumerate(stored):
                    if sample in sample_ids:
                        ids.append(sample)
                        images.append(part[index : index + 1])
        except (SafetensorError, OSError, KeyError, ValueError, IndexError) as error:
            raise StoreError(f"{path}: damaged ({error}); {remedy}") from error
    return Examples(tuple(ids), np.concatenate(images) if images else np.zeros((0, 0, 0, 0), np.float32))
