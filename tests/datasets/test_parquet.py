"""Parquet files of encoded images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from bench import datasets
from bench.datasets import parquet
from bench.datasets.base import Dataset
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

RNG = np.random.default_rng(2)
X = RNG.integers(0, 256, (10, 6, 8, 3), dtype=np.uint8)
Y = [i % 5 for i in range(10)]


def encode(pixels: Any, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write(path: Path, images: list[Any], labels: Any, names: tuple[str, str] = ("image", "label")) -> Path:
    pq.write_table(pa.table({names[0]: images, names[1]: labels}), path, row_group_size=3)
    return path


def load(name: str = "parquet", **spec: Any) -> Dataset:
    return datasets.load(DatasetSpec(name=name, **spec), Places(download=False))


def test_struct_and_plain_bytes_give_the_same_images(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.parquet", [encode(x) for x in X], Y)
    struct = write(tmp_path / "b.parquet", [{"bytes": encode(x), "path": "p"} for x in X], Y, ("img", "fine_label"))
    for path in (plain, struct):
        data = load(path=str(path))
        assert np.array_equal(data.images, X.transpose(0, 3, 1, 2))
        assert data.labels.tolist() == Y
        assert data.num_classes == 5
        assert data.note == ""


def test_a_selection_decodes_only_its_own_images(tmp_path: Path) -> None:
    images = [encode(x) for x in X]
    images[1] = b"not an image"
    path = write(tmp_path / "a.parquet", images, Y)
    data = load(path=str(path), samples=2, select="random", seed=3)
    chosen = data.positions.tolist()
    assert 1 not in chosen
    assert np.array_equal(data.images, X[chosen].transpose(0, 3, 1, 2))
    with pytest.raises(DatasetError, match="parquet/test/00001: not a readable image"):
        load(path=str(path))


def test_positions_run_over_several_files(tmp_path: Path) -> None:
    write(tmp_path / "test-00000-of-00002.parquet", [encode(x) for x in X[:4]], Y[:4])
    write(tmp_path / "test-00001-of-00002.parquet", [encode(x) for x in X[4:]], Y[4:])
    data = load(path=str(tmp_path))
    assert np.array_equal(data.images, X.transpose(0, 3, 1, 2))
    assert data.sample_ids[9] == "parquet/test/00009"
    with pytest.raises(DatasetError, match="no parquet files of the train split"):
        load(path=str(tmp_path), split="train")


def test_grey_images_stay_grey_and_alpha_is_dropped(tmp_path: Path) -> None:
    grey = write(tmp_path / "g.parquet", [encode(x[..., 0]) for x in X], Y)
    assert np.array_equal(load(path=str(grey)).images[:, 0], X[..., 0])
    rgba = np.concatenate([X, np.full_like(X[..., :1], 255)], axis=-1)
    alpha = write(tmp_path / "a.parquet", [encode(x) for x in rgba], Y)
    assert np.array_equal(load(path=str(alpha)).images, X.transpose(0, 3, 1, 2))


def test_jpeg_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "j.parquet", [encode(x, "JPEG") for x in X], Y)
    assert load(path=str(path)).note == parquet.JPEG_NOTE


def test_refusals(tmp_path: Path) -> None:
    images = [encode(x) for x in X]
    path = write(tmp_path / "a.parquet", images, Y, ("picture", "kind"))
    with pytest.raises(DatasetError, match=r"image_column: no column image or img \(accepted: picture, kind\)"):
        load(path=str(path))
    with pytest.raises(DatasetError, match=r"label_column: no column label or fine_label"):
        load(path=str(path), image_column="picture")
    assert len(load(path=str(path), image_column="picture", label_column="kind")) == 10
    mixed = [*images[:9], encode(X[9][:4])]
    with pytest.raises(DatasetError, match=r"parquet/test/00009: an image of shape \(3, 4, 8\)"):
        load(path=str(write(tmp_path / "m.parquet", mixed, Y)))
    with pytest.raises(DatasetError, match="labels of type float64"):
        load(path=str(write(tmp_path / "f.parquet", images, [float(y) for y in Y])))
    with pytest.raises(DatasetError, match="2 rows have no label"):
        load(path=str(write(tmp_path / "n.parquet", images, [*Y[:8], None, None])))
    with pytest.raises(DatasetError, match="image 0 holds no bytes"):
        load(path=str(write(tmp_path / "i.parquet", Y, Y)))
    with pytest.raises(DatasetError, match="no images"):
        load(path=str(write(tmp_path / "e.parquet", pa.array([], pa.binary()), pa.array([], pa.int64()))))
    deep = encode(RNG.integers(0, 65536, (6, 8), dtype=np.uint16))
    with pytest.raises(DatasetError, match="mode I;16"):
        load(path=str(write(tmp_path / "d.parquet", [deep] * 10, Y)))


def test_damaged_files(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet", [encode(x) for x in X], Y).read_bytes()
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}.items():
        (tmp_path / f"{name}.parquet").write_bytes(content)
        with pytest.raises(DatasetError, match="not a readable parquet file"):
            load(path=str(tmp_path / f"{name}.parquet"))


def test_real_cifar_as_jpeg(shared: Path) -> None:
    data = load("cifar10", path=str(shared / "cifar10_jpeg"), samples=10)
    lossless = load("cifar10", path=str(shared / "cifar10/cifar10_test_0_511.npz"))
    assert data.labels.tolist() == list(range(10))
    for label, image in enumerate(data.images):
        # The file's k-th image of a class is the k-th of that class in the test set.
        original = lossless.images[np.flatnonzero(lossless.labels == label)[0]]
        assert 10 * np.log10(255**2 / np.mean((image.astype(float) - original) ** 2)) > 25
    assert data.note == parquet.JPEG_NOTE
    assert len(load("cifar10", path=str(shared / "cifar10_jpeg/train.parquet"), split="train", samples=3)) == 3
    with pytest.raises(DatasetError, match=r"\(accepted: \(1, 28, 28\)"):
        load("mnist", path=str(shared / "cifar10_jpeg"), samples=1)
