"""The clean images beside a run come back as they were, or with an error that names the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_run import Planned, build_run, image, record

from bench.errors import SchemaError, StoreError
from bench.store import parts
from bench.store.gallery import read_clean, read_purified, read_some, write_clean
from bench.store.parts import Examples
from bench.store.run_directory import RunDirectory


def test_float_images_come_back_exactly(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    images = np.random.default_rng(0).random((3, 1, 4, 5), dtype=np.float32)
    write_clean(run, ["a/1", "ä/2", "b"], images)
    ids, got = read_clean(run)
    assert ids == ("a/1", "ä/2", "b")
    np.testing.assert_array_equal(got, images)


def test_bytes_come_back_in_0_1(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_clean(run, ["a"], np.array([0, 51, 255, 128], np.uint8).reshape(1, 1, 2, 2))
    assert read_clean(run).images.ravel().tolist() == pytest.approx([0, 0.2, 1, 128 / 255])
    assert read_clean(run).images.dtype == np.float32


def test_nothing_kept_is_empty(tmp_path: Path) -> None:
    assert read_clean(RunDirectory(tmp_path)).sample_ids == ()


def test_what_does_not_match_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    with pytest.raises(ValueError, match="2 ids"):
        write_clean(run, ["a", "b"], np.zeros((1, 1, 2, 2), np.float32))
    with pytest.raises(ValueError, match="float64"):
        write_clean(run, ["a"], np.zeros((1, 1, 2, 2)))
    assert not (tmp_path / "clean.safetensors").exists()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "clean.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(StoreError, match=r"clean\.safetensors: damaged"):
        read_clean(RunDirectory(tmp_path))


def test_some_examples_of_a_cell(tmp_path: Path) -> None:
    planned = [Planned(broken=range(9), examples=range(9))]
    run = build_run(tmp_path, planned, n=12)
    (cell,) = run.read_run().cells
    ids, images = read_some(run, cell, {"cifar10/test/00004", "cifar10/test/00007", "cifar10/test/00011"})
    everything = run.read_examples(cell)
    assert ids == ("cifar10/test/00004", "cifar10/test/00007")
    np.testing.assert_array_equal(images, everything.images[[4, 7]])
    assert read_some(run, cell, {"x"}).sample_ids == ()
    assert read_some(run, "none-0123456789ab", {"x"}).images.shape == (0, 0, 0, 0)


def test_damaged_examples_are_named(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(broken=[1], examples=[1])], n=2)
    (cell,) = run.read_run().cells
    (path,) = run.example_parts(cell)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match=r"part-00000\.safetensors: damaged"):
        read_some(run, cell, {"cifar10/test/00001"})


def test_purified_examples_come_back_and_are_merged_by_sample(tmp_path: Path) -> None:
    planned = [Planned(broken=range(9), examples=range(9), purified=range(3))]
    run = build_run(tmp_path, planned, n=12)
    (cell,) = run.read_run().cells
    wanted = [f"cifar10/test/{position:05d}" for position in range(12)]
    ids, images = read_purified(run, cell, wanted)
    assert list(ids) == wanted[:3]
    np.testing.assert_array_equal(images[1], image(1) / 2)
    report = run.read_reports(cell)[0]
    again = [record(cell, planned[0], position) for position in (1, 2, 4)]
    run.write_shard(cell, 0, again, report, None, Examples((wanted[4],), images[:1]))
    ids, images = read_purified(run, cell, wanted)
    assert ids == (wanted[0], wanted[4])  # 1 and 2 were judged again and aren't broken any more
    np.testing.assert_array_equal(images, np.stack([image(0) / 2, image(0) / 2]))


def test_nothing_purified_leaves_no_file(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(broken=[1], examples=[1])], n=2)
    (cell,) = run.read_run().cells
    run.write_shard(
        cell, 1, [record(cell, Planned(), 3)], run.read_reports(cell)[0], None, Examples((), image(0)[None][:0])
    )
    assert not (tmp_path / "purified").exists()
    assert read_purified(run, cell, ["cifar10/test/00001"]).sample_ids == ()


def test_damaged_purified_examples_are_named_and_written_anew(tmp_path: Path) -> None:
    planned = Planned(broken=[1, 2], examples=[1, 2], purified=[1])
    run = build_run(tmp_path, [planned], n=3)
    (cell,) = run.read_run().cells
    (path,) = run.purified_parts(cell)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match=r"purified.*part-00000\.safetensors: damaged .* only pictures are lost"):
        read_purified(run, cell, ["cifar10/test/00001"])
    sample = "cifar10/test/00002"
    run.write_shard(
        cell, 0, [record(cell, planned, 2)], run.read_reports(cell)[0], None, Examples((sample,), image(2)[None])
    )
    assert read_purified(run, cell, [sample]).sample_ids == (sample,)


def test_purified_examples_of_a_newer_bench_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "SCHEMA_VERSION", 99)
    parts.write_examples(
        tmp_path / "purified" / "a-0123456789ab" / "part-00000.safetensors", Examples(("x",), image(0)[None])
    )
    monkeypatch.undo()
    with pytest.raises(SchemaError, match="newer bench"):
        read_purified(RunDirectory(tmp_path), "a-0123456789ab", ["x"])
