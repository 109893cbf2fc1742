"""ImageNet's validation folder: RobustBench's list, order, labels and preprocessing on stand-in images."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import _imports, datasets
from bench.datasets.base import Dataset
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

HELPERS = Path(_imports.robustbench().__file__).parent / "helper_files"
LISTED = (HELPERS / "imagenet_test_image_ids.txt").read_text().split()
NUMBERS = json.loads((HELPERS / "imagenet_class_to_id_map.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All 1,000 classes and 5,000 listed names; one small image under every name, two real ones among them."""
    root = tmp_path_factory.mktemp("imagenet")
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(buffer, "JPEG")
    for name in NUMBERS:
        (root / "val" / name).mkdir(parents=True)
    for name in LISTED:
        (root / "val" / name).write_bytes(buffer.getvalue())
    (root / "val" / "n01440764" / "ILSVRC2012_val_99999999.JPEG").write_bytes(buffer.getvalue())
    for index, size in ((0, (500, 375)), (7, (300, 400))):
        pixels = np.random.default_rng(index).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "val" / LISTED[index], "JPEG")
    yield root
    shutil.rmtree(root)


def load(path: Path, **spec: Any) -> Dataset:
    return datasets.load(DatasetSpec(name="imagenet", path=str(path), **spec), Places(download=False))


@pytest.mark.parametrize("preprocessing", ["Res256Crop224", "BicubicRes256Crop224", "Res224", "Crop288"])
def test_images_are_those_of_robustbenchs_loader(folder: Path, preprocessing: str) -> None:
    data = load(folder, samples=8, preprocessing=preprocessing)
    transform = _imports.robustbench("robustbench.data").PREPROCESSINGS[preprocessing]
    theirs = _imports.robustbench("robustbench.loaders").CustomImageFolder(str(folder / "val"), transform)
    batch = data.batch(range(8))
    for index in range(8):
        image, label, path = theirs[index]
        assert path.endswith(data.sample_ids[index])
        assert label == data.labels[index]
        assert np.array_equal(batch.x[index].numpy(), image.numpy())
    assert data.images.dtype == np.uint8


def test_the_list_and_its_labels(folder: Path) -> None:
    data = load(folder / "val", split="val", samples=200)
    assert list(data.sample_ids) == LISTED[:200]
    assert [NUMBERS[name.partition("/")[0]] for name in data.sample_ids] == data.labels.tolist()
    assert data.num_classes == 1000
    with pytest.raises(DatasetError, match="there are 5000"):
        load(folder, samples=5001)


def test_all_images_go_by_name(folder: Path) -> None:
    data = load(folder, images="all", samples=1)
    assert data.sample_ids[0].startswith("n01440764/")
    with pytest.raises(DatasetError, match="there are 5001"):
        load(folder, images="all", samples=50000)


def test_the_digest_sees_images_and_preprocessing(folder: Path) -> None:
    digests = {
        load(folder, samples=1, **spec).digest
        for spec in ({}, {"preprocessing": "Res224"}, {"images": "all"}, {"images": "all", "preprocessing": "Res224"})
    }
    assert len(digests) == 4
    assert load(folder, samples=2, select="random").digest in digests


def test_images_of_several_shapes_are_refused(folder: Path) -> None:
    with pytest.raises(DatasetError, match="all must have one shape"):
        load(folder, samples=2, preprocessing="none")


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no such directory; ImageNet can't be downloaded"):
        load(tmp_path / "absent")
    with pytest.raises(DatasetError, match=r"BENCH_DATA_DIR"):
        datasets.load(DatasetSpec(name="imagenet"), Places(data_dir=tmp_path))
    with pytest.raises(DatasetError, match="1000 of the 1,000 classes are missing, such as n01440764"):
        load(tmp_path)
    with pytest.raises(DatasetError, match="the training images are not served"):
        load(folder, split="train")
    (folder / "val" / LISTED[3]).rename(folder / "val" / (LISTED[3] + ".bak"))
    try:
        with pytest.raises(DatasetError, match="RobustBench's list names it"):
            load(folder)
    finally:
        (folder / "val" / (LISTED[3] + ".bak")).rename(folder / "val" / LISTED[3])


def test_a_broken_image_is_named(folder: Path) -> None:
    path = folder / "val" / LISTED[5]
    content = path.read_bytes()
    path.write_bytes(content[:100])
    try:
        with pytest.raises(DatasetError, match="not a readable image"):
            load(folder, samples=6)
        assert len(load(folder, samples=5)) == 5
    finally:
        path.write_bytes(content)
