"""Folders with one directory of images per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench import _imports, datasets
from bench.datasets import image_folder as module
from bench.datasets.base import Dataset
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

RNG = np.random.default_rng(4)


def load(path: Path, **spec: Any) -> Dataset:
    return datasets.load(DatasetSpec(name="image_folder", path=str(path), **spec), Places(download=False))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pets"
    for name, count in (("dog", 3), ("cat", 2)):
        (root / name / "more").mkdir(parents=True)
        for index in range(count):
            place = root / name / "more" if index == 0 else root / name
            Image.fromarray(RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(place / f"{index}.png")
        (root / name / "notes.txt").write_text("not an image")
    return root


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image).transpose(2, 0, 1)


def test_classes_ids_and_pixels(folder: Path) -> None:
    data = load(folder)
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 1, 1, 1]
    assert data.sample_ids == ("cat/1.png", "cat/more/0.png", "dog/1.png", "dog/2.png", "dog/more/0.png")
    for index, name in enumerate(data.sample_ids):
        assert np.array_equal(data.images[index], pixels(folder / name))


def test_a_directory_of_the_split_is_preferred(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "test")
    assert len(load(tmp_path)) == 5
    assert load(tmp_path).sample_ids[0] == "cat/1.png"


def test_resize_and_crop_are_torchvisions(folder: Path) -> None:
    data = load(folder, resize=16, crop=12, samples=1)
    transforms = _imports.torchvision("torchvision.transforms")
    with Image.open(folder / "cat/1.png") as image:
        expected = np.asarray(transforms.CenterCrop(12)(transforms.Resize(16)(image)))
    assert np.array_equal(data.images[0], expected.transpose(2, 0, 1))
    assert load(folder, resize=[8, 10]).shape == (3, 8, 10)
    assert load(folder, channels=1).shape == (1, 20, 30)


def test_the_digest_sees_contents_names_and_parameters(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = load(folder).digest
    assert load(folder, samples=2, select="random").digest == one
    assert load(folder, resize=16).digest != one
    monkeypatch.setattr(module, "READ_WHOLE", 0)
    listed = load(folder).digest
    assert listed not in (one, load(folder, resize=16).digest)
    (folder / "cat" / "1.png").rename(folder / "cat" / "3.png")
    assert load(folder).digest != listed


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="crop: 24 is larger than the image, 20x30"):
        load(folder, crop=24)
    Image.new("RGB", (30, 21)).save(folder / "dog" / "odd.png")
    with pytest.raises(DatasetError, match=r"dog/odd\.png: an image of shape \(3, 21, 30\)"):
        load(folder)
    (folder / "dog" / "odd.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"dog/odd\.png: not a readable image"):
        load(folder)
    (folder / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty: no images"):
        load(folder)
    with pytest.raises(DatasetError, match="0 class directories"):
        load(folder / "dog" / "more")
    with pytest.raises(DatasetError, match="is not a directory"):
        load(tmp_path / "absent")


def test_broken_images_that_are_not_selected_do_not_matter(folder: Path) -> None:
    (folder / "dog" / "zzz.png").write_bytes(b"")
    assert len(load(folder, samples=5)) == 5
