"""CIFAR in torchvision's layout. The real archive can't be had here, so files of the same format stand in for it."""

from __future__ import annotations

import copyreg
import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import _imports, datasets
from bench.datasets.base import Dataset
from bench.errors import DatasetError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

RNG = np.random.default_rng(3)
X = RNG.integers(0, 256, (30, 3, 32, 32), dtype=np.uint8)
Y = [int(y) for y in RNG.integers(0, 10, 30)]


def load(places: Places, name: str = "cifar10", **spec: Any) -> Dataset:
    return datasets.load(DatasetSpec(name=name, **spec), places)


def old_pickle(value: object) -> bytes:
    """A pickle as the archive holds it: its dtype stores alignment and copy as numbers."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=2)
    pickler.dispatch_table = copyreg.dispatch_table.copy()
    pickler.dispatch_table[type(np.dtype("u1"))] = lambda dtype: (np.dtype, ("u1", 0, 1), dtype.__reduce__()[2])
    pickler.dump(value)
    return buffer.getvalue()


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published layout with other images; torchvision is told their digests."""
    module = _imports.torchvision("torchvision.datasets")
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    parts = {f"data_batch_{i + 1}": range(5 * i, 5 * i + 5) for i in range(5)} | {"test_batch": range(25, 30)}
    digests = {}
    for name, rows in parts.items():
        content = old_pickle({"data": X[list(rows)].reshape(len(rows), -1), "labels": [Y[row] for row in rows]})
        (folder / name).write_bytes(content)
        digests[name] = hashlib.md5(content).hexdigest()
    meta = pickle.dumps({"label_names": ["airplane"] * 10}, protocol=2)
    (folder / "batches.meta").write_bytes(meta)
    names = list(digests)
    monkeypatch.setattr(module.CIFAR10, "train_list", [[name, digests[name]] for name in names[:5]])
    monkeypatch.setattr(module.CIFAR10, "test_list", [[name, digests[name]] for name in names[5:]])
    monkeypatch.setattr(module.CIFAR10, "meta", {**module.CIFAR10.meta, "md5": hashlib.md5(meta).hexdigest()})
    return tmp_path / "data"


def test_the_published_files(layout: Path) -> None:
    places = Places(data_dir=layout, download=False)
    test, train = load(places), load(places, split="train")
    assert np.array_equal(test.images, X[25:])
    assert test.labels.tolist() == Y[25:]
    assert np.array_equal(train.images, X[:25])
    assert train.labels.tolist() == Y[:25]
    assert test.sample_ids[4] == "cifar10/test/00004"
    assert test.class_names[9] == "truck"
    assert test.digest != train.digest


def test_path_names_the_directory_or_the_one_above(layout: Path, tmp_path: Path) -> None:
    elsewhere = Places(data_dir=tmp_path / "elsewhere", download=False)
    for path in (layout, layout / "cifar-10-batches-py"):
        assert np.array_equal(load(elsewhere, path=str(path)).images, X[25:])


def test_a_changed_file_is_refused_before_it_is_unpickled(layout: Path) -> None:
    (layout / "cifar-10-batches-py" / "test_batch").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DatasetError, match=r"cifar-10-batches-py: missing or damaged files"):
        load(Places(data_dir=layout, download=False))


def test_nothing_there_says_what_would_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        load(Places(data_dir=tmp_path, download=False))
    for part in (str(tmp_path), "downloads are off", "cifar-10-batches-py", "parquet", "npz", "npy", "BENCH_DATA_DIR"):
        assert part in str(error.value)


def test_a_failed_download_says_what_would_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = _imports.torchvision("torchvision.datasets")
    monkeypatch.setattr(module.CIFAR100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")
    with pytest.raises(DatasetError, match=r"the download failed: .*refused") as error:
        load(Places(data_dir=tmp_path), "cifar100")
    assert "cifar-100-python" in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_refusals(layout: Path, tmp_path: Path) -> None:
    places = Places(data_dir=layout, download=False)
    with pytest.raises(DatasetError, match="image_column: goes with path"):
        load(places, image_column="img")
    with pytest.raises(DatasetError, match="there is no 'val'"):
        load(places, split="val")
    np.savez(tmp_path / "x.npz", x=X[:, :1], y=Y)
    with pytest.raises(DatasetError, match=r"\(1, 32, 32\) \(accepted: \(3, 32, 32\)"):
        load(places, path=str(tmp_path / "x.npz"))
    np.savez(tmp_path / "y.npz", x=X, y=[100] * 30)
    with pytest.raises(DatasetError, match=r"label 100 of image 0 is out of range \(accepted: 0..99\)"):
        load(places, "cifar100", path=str(tmp_path / "y.npz"))
