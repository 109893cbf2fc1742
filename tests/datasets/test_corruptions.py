"""Corrupted images: those of the library, and the published layouts on files that the test writes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bench import datasets
from bench.datasets.base import Dataset
from bench.datasets.corruptions import generated, open_corruptions
from bench.errors import DatasetError, DatasetUnavailable
from bench.suites.corruptions import NAMES, CorruptionsSpec
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

Pixels = npt.NDArray[np.uint8]
CIFAR_IMAGES, SEVERITIES = 10_000, 5


def made(dataset: Dataset, **spec: Any) -> Any:  # Any: one of the sources
    return open_corruptions(CorruptionsSpec.model_validate({"kinds": "all", **spec}), dataset)


def stand_in(images: Pixels, labels: list[int], name: str = "cifar10", ids: tuple[str, ...] = ()) -> Dataset:
    count = len(labels)
    return Dataset(
        name, images, np.array(labels), ids or tuple(f"{name}/test/{index:05d}" for index in range(count)),
        np.arange(count), 10, (), "digest",
    )  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    pytest.importorskip("imagecorruptions")
    return datasets.load(DatasetSpec(name="mnist", samples=4), Places(download=False))


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_its_own_draws(digits: Dataset, name: str) -> None:
    np.random.seed(11)
    before = np.random.get_state()[1]
    images = made(digits).images(name, 3, [0, 1, 2, 3])
    assert (np.random.get_state()[1] == before).all()
    assert images.shape == (4, 1, 28, 28)
    assert images.dtype == np.uint8
    assert (made(digits).images(name, 3, [3, 1]) == images[[3, 1]]).all()
    assert (images != digits.images).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "glass_blur", "elastic_transform"])
def test_another_seed_is_another_draw(digits: Dataset, name: str) -> None:
    assert (made(digits, seed=1).images(name, 3, [0]) != made(digits).images(name, 3, [0])).any()


def test_the_image_is_that_of_the_library() -> None:
    library = pytest.importorskip("imagecorruptions")
    rng = np.random.default_rng(5)
    colour = rng.integers(0, 256, (1, 3, 32, 32), dtype=np.uint8)
    found = made(stand_in(colour, [0])).images("contrast", 2, [0])
    wanted = library.corrupt(colour[0].transpose(1, 2, 0), severity=2, corruption_name="contrast")
    assert (found[0] == wanted.transpose(2, 0, 1)).all()
    grey = rng.integers(0, 256, (1, 1, 28, 28), dtype=np.uint8)
    padded = np.pad(grey[0, 0], 2, mode="edge")
    wanted = library.corrupt(padded, severity=4, corruption_name="pixelate")[2:30, 2:30, 0]
    assert (made(stand_in(grey, [0], name="mnist")).images("pixelate", 4, [0])[0, 0] == wanted).all()


def test_severity_grows(digits: Dataset) -> None:
    source = made(digits)
    far = [float(np.abs(source.images("contrast", s, range(4)) - digits.images.astype(int)).mean()) for s in (1, 3, 5)]
    assert far[0] < far[1] < far[2]


def test_floats_are_rounded_to_eight_bits() -> None:
    images = np.array([0.0, 0.5 / 255 + 1e-4, 0.2, 1.0], dtype=np.float32)
    assert generated.eight_bits(images).tolist() == [0, 1, 51, 255]


def test_the_facts_name_what_makes_the_images(digits: Dataset) -> None:
    facts = made(digits, seed=3).facts("fog", 1)
    assert facts["seed"] == 3
    assert set(facts["made_by"]) == set(generated.LIBRARIES)
    assert facts["made_by"]["imagecorruptions-imaug"][0].isdigit()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(DatasetUnavailable, match=r"robustness-bench\[corruptions\]"):
        made(stand_in(np.zeros((1, 3, 32, 32), np.uint8), [0]))


# -- CIFAR-10-C ------------------------------------------------------------------------------------------------------


def write_cifar_c(root: Path, labels: npt.NDArray[np.int64], *, count: int = CIFAR_IMAGES) -> None:
    """Two corruptions in the published layout, at its true shape: image i at severity s is filled with 40 s + i mod 10, and
    one more under snow.

    The rows that no test reads are holes of the file.
    """
    root.mkdir()
    np.save(root / "labels.npy", np.tile(labels, SEVERITIES))
    for name in ("fog", "snow"):
        shape = (SEVERITIES * count, 32, 32, 3)
        images = np.lib.format.open_memmap(root / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape)
        for severity in range(SEVERITIES):
            for index in range(20):
                images[severity * count + index] = 40 * (severity + 1) + index % 10 + (name == "snow")
                images[severity * count + index, 0, 1, 2] = 7  # row 0, column 1, blue
        images.flush()


@pytest.fixture(scope="module")
def cifar_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("published") / "CIFAR-10-C"
    write_cifar_c(root, np.arange(CIFAR_IMAGES) % 10)
    return root


CLEAN = np.zeros((20, 3, 32, 32), np.uint8)


def test_severities_are_stacked(cifar_c: Path) -> None:
    source = made(stand_in(CLEAN, [index % 10 for index in range(20)]), path=str(cifar_c))
    for severity in range(1, 6):
        images = source.images("fog", severity, [0, 13])
        assert images.shape == (2, 3, 32, 32)
        assert images[:, 0, 5, 5].tolist() == [40 * severity, 40 * severity + 3]
        assert images[:, 2, 0, 1].tolist() == [7, 7]
    facts = source.facts("fog", 1)
    assert facts == source.facts("fog", 2)
    assert facts != source.facts("snow", 1)


def test_a_selection_is_paired_by_position(cifar_c: Path) -> None:
    whole = stand_in(CLEAN, [index % 10 for index in range(20)])
    chosen = np.array([17, 4])
    part = Dataset(
        "cifar10", whole.images[chosen], whole.labels[chosen], tuple(whole.sample_ids[place] for place in chosen),
        chosen, 10, (), "digest",
    )  # fmt: skip
    assert made(part, path=str(cifar_c)).images("snow", 2, [0, 1])[:, 0, 5, 5].tolist() == [88, 85]


def test_labels_of_other_images_are_refused(cifar_c: Path) -> None:
    with pytest.raises(DatasetError, match=r"2 of 20 labels aren't those of cifar10.*first at position 3"):
        made(stand_in(CLEAN, [index % 10 + (index in (3, 15)) for index in range(20)]), path=str(cifar_c))


def test_the_real_images_stand_in_the_published_order(shared: Path, tmp_path: Path) -> None:
    path = shared / "cifar10" / "cifar10_test_0_511.npz"
    real = datasets.load(DatasetSpec(name="cifar10", path=str(path)), Places(download=False))
    write_cifar_c(tmp_path / "c", np.concatenate([real.labels, real.labels]), count=2 * len(real))
    source = made(real, path=str(tmp_path / "c"))
    assert source.images("fog", 5, [3])[0, 0, 9, 9] == 203


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: np.save(root / "labels.npy", np.arange(100) % 7), "labels differ between severities"),
        (lambda root: np.save(root / "labels.npy", np.zeros(11, int)), "five times the number of images"),
        (lambda root: np.save(root / "fog.npy", np.zeros((99, 32, 32, 3), np.uint8)), r"\(100, 32, 32, 3\)"),
        (lambda root: np.save(root / "fog.npy", np.zeros((100, 32, 32, 3), np.float32)), "float32"),
        (lambda root: (root / "fog.npy").write_bytes(b"not an array"), "not a readable npy file"),
        (lambda root: np.save(root / "fog.npy", np.array([{}])), "not a readable npy file"),
        (lambda root: (root / "fog.npy").unlink(), "no such file"),
        (lambda root: (root / "labels.npy").unlink(), "no such file"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change: Any, message: str) -> None:
    root = tmp_path / "c"
    write_cifar_c(root, np.arange(20) % 10, count=20)
    change(root)
    with pytest.raises(DatasetError, match=message):
        made(stand_in(CLEAN, [index % 10 for index in range(20)]), path=str(root)).images("fog", 1, [0])


def test_there_are_no_published_files_of_other_datasets(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no published corruptions of mnist"):
        made(stand_in(CLEAN, [0] * 20, name="mnist"), path=str(tmp_path))
    with pytest.raises(DatasetUnavailable, match="no such directory"):
        made(stand_in(CLEAN, [0] * 20), path=str(tmp_path / "absent"))


# -- ImageNet-C ------------------------------------------------------------------------------------------------------

NAMED = ("n01440764/ILSVRC2012_val_00000293.JPEG", "n15075141/ILSVRC2012_val_00000007.JPEG")


@pytest.fixture
def imagenet_c(tmp_path: Path) -> Path:
    """One corruption at one severity; a file's brightness tells which image it is."""
    root = tmp_path / "ImageNet-C"
    for index, name in enumerate(NAMED):
        path = root / "frost" / "4" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (224, 224), (100 + 50 * index,) * 3).save(path, "JPEG", quality=100)
    return root


def imagenet() -> Dataset:
    return stand_in(np.zeros((2, 3, 224, 224), np.uint8), [0, 1], name="imagenet", ids=NAMED)


def test_folders_are_paired_by_name(imagenet_c: Path) -> None:
    source = made(imagenet(), path=str(imagenet_c))
    images = source.images("frost", 4, [1, 0])
    assert images.shape == (2, 3, 224, 224)
    assert images[:, 0, 0, 0].tolist() == [150, 100]
    before = source.facts("frost", 4)
    (imagenet_c / "frost" / "4" / "n01440764" / "ILSVRC2012_val_00000999.JPEG").write_bytes(b"more")
    assert made(imagenet(), path=str(imagenet_c)).facts("frost", 4) != before


def test_missing_and_wrong_images_are_refused(imagenet_c: Path) -> None:
    source = made(imagenet(), path=str(imagenet_c))
    with pytest.raises(DatasetUnavailable, match="no such directory"):
        source.facts("frost", 5)
    path = imagenet_c / "frost" / "4" / NAMED[1]
    Image.new("RGB", (224, 225)).save(path, "JPEG")
    with pytest.raises(DatasetError, match=r"\(3, 225, 224\), the clean ones have \(3, 224, 224\)"):
        source.images("frost", 4, [1])
    path.unlink()
    with pytest.raises(DatasetError, match="no such file"):
        source.images("frost", 4, [0, 1])
