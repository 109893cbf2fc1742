"""npz files and pairs of npy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import datasets
from bench.datasets.base import Dataset
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

RNG = np.random.default_rng(1)
X = RNG.integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
Y = np.arange(12) % 4


def load(**spec: Any) -> Dataset:
    return datasets.load(DatasetSpec(name="npz", **spec), Places(download=False))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", x=X, y=Y, images=X.transpose(0, 2, 3, 1), target=Y[:, None])
    return tmp_path / "data.npz"


def test_images_labels_and_ids(file: Path) -> None:
    data = load(path=str(file), samples=5)
    assert np.array_equal(data.images, X[:5])
    assert data.labels.tolist() == [0, 1, 2, 3, 0]
    assert data.sample_ids[4] == "npz/test/00004"
    assert data.num_classes == 4
    assert data.shape == (3, 8, 8)


def test_keys_layout_and_classes(file: Path) -> None:
    names = [f"c{i}" for i in range(7)]
    data = load(path=str(file), x_key="images", y_key="target", layout="nhwc", class_names=names)
    assert np.array_equal(data.images, X)
    assert np.array_equal(data.labels, Y)
    assert data.num_classes == 7
    assert data.class_names == tuple(names)


def test_the_digest_sees_the_file_and_the_keys_only(file: Path, tmp_path: Path) -> None:
    one = load(path=str(file))
    np.savez(tmp_path / "other.npz", x=X[::-1], y=Y)
    assert load(path=str(file), samples=3, select="random").digest == one.digest
    assert load(path=str(file), x_key="images").digest != one.digest
    assert load(path=str(tmp_path / "other.npz")).digest != one.digest


def test_a_pair_of_npy_files(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", X.astype(np.float32) / 255)
    np.save(tmp_path / "y.npy", Y)
    data = load(path=str(tmp_path / "X.npy"), labels="y.npy")
    assert data.images.dtype == np.float32
    assert np.array_equal(data.batch(range(12)).x.numpy(), X.astype(np.float32) / 255)
    assert np.array_equal(data.labels, Y)
    with pytest.raises(DatasetError, match="labels: missing"):
        load(path=str(tmp_path / "X.npy"))
    with pytest.raises(DatasetError, match="no such file"):
        load(path=str(tmp_path / "X.npy"), labels="z.npy")


def test_uint8_and_its_float_give_the_same_images(file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", x=X.astype(np.float32) / np.float32(255), y=Y)
    a, b = load(path=str(file)), load(path=str(tmp_path / "f.npz"))
    assert [a.sample_digest(i) for i in range(12)] == [b.sample_digest(i) for i in range(12)]


def test_refusals(file: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"x_key: no array 'X' \(accepted: x, y, images, target\)"):
        load(path=str(file), x_key="X")
    with pytest.raises(DatasetError, match="label 3 of image 3 is out of range"):
        load(path=str(file), num_classes=3)
    with pytest.raises(DatasetError, match="labels: goes with an npy file"):
        load(path=str(file), labels="y.npy")
    with pytest.raises(DatasetError, match="path: missing"):
        load()
    with pytest.raises(DatasetError, match=r"absent\.npz: no such file"):
        load(path=str(tmp_path / "absent.npz"))
    with pytest.raises(DatasetError, match=r"x_kye: Extra inputs are not permitted \(accepted: .*x_key"):
        load(path=str(file), x_kye="x")


def test_damaged_files(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for name, content in {"cut.npz": whole[: len(whole) // 2], "empty.npz": b"", "text.npz": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=name):
            load(path=str(tmp_path / name))
    np.save(tmp_path / "single.npy", X)
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    with pytest.raises(DatasetError, match=r"a single array, not an npz file"):
        load(path=str(tmp_path / "single.npz"))


def test_object_arrays_are_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    np.savez(tmp_path / "evil.npz", x=np.array([Trap()], dtype=object), y=Y)
    with pytest.raises(DatasetError, match="could run any code"):
        load(path=str(tmp_path / "evil.npz"))
    assert not (tmp_path / "ran").exists()


def test_real_cifar_images(shared: Path) -> None:
    data = datasets.load(
        DatasetSpec(name="cifar10", path=str(shared / "cifar10/cifar10_test_0_511.npz")), Places(download=False)
    )
    assert len(data) == 512
    assert data.labels[:8].tolist() == [3, 8, 8, 0, 6, 6, 1, 6]
    assert data.sample_ids[12] == "cifar10/test/00012"
    assert data.class_names[3] == "cat"
    sdp = datasets.load(
        DatasetSpec(
            name="cifar10", path=str(shared / "cifar10/cifar10_sdp200_X.npy"), args={"labels": "cifar10_sdp200_y.npy"}
        ),
        Places(download=False),
    )
    assert sdp.shape == (3, 32, 32)
    assert len(sdp) == 200
