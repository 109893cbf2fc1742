"""Rows, reports and examples of a cell, in whatever order and pieces they were saved."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_run import Planned, build_run, record

from bench.errors import SchemaError, StoreError
from bench.store import parts
from bench.store.parts import Examples, ShardReport, StageCost
from bench.store.records import Flag, SampleRecord
from bench.store.run_directory import RunDirectory, hash_of

CELL = "model-linf-8_255-pgd-20-s0-0123456789ab"


def report(samples: int, seconds: float = 1.0) -> ShardReport:
    flag = Flag(rule="rule", severity="warning", message="≤ ⚑")
    stage = StageCost(name="apgd-ce", attacked=samples, broken=1, seconds=0.5)
    return ShardReport(samples=samples, seconds=seconds, device="cpu", batch_size=8, stages=(stage,), flags=(flag,))


def records(positions: Sequence[int], *, broken: bool = False, cell: str = CELL) -> list[SampleRecord]:
    plan = Planned(broken=positions if broken else (), distances=dict.fromkeys(positions, 0.25))
    return [record(cell, plan, position) for position in positions]


def same(one: Sequence[SampleRecord], other: Sequence[SampleRecord]) -> bool:
    """Equal, where NaN is NaN."""
    return repr(list(one)) == repr(list(other))


def images(positions: Sequence[int]) -> Examples:
    ids = tuple(f"cifar10/test/{position:05d}" for position in positions)
    return Examples(ids, np.array([np.full((1, 2, 2), position / 100) for position in positions], np.float32))


def test_rows_and_reports_come_back_as_they_were(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    rows = records([0, 1, 2])
    run.write_shard(CELL, 0, rows, report(3), None)
    frame, reports = run.read_part_frames(CELL)
    assert same(parts.to_records(frame), rows)
    assert reports == [report(3)]
    assert frame.dtypes.astype(str).to_dict() == {
        **dict.fromkeys(SampleRecord._fields, "float64"),
        **dict.fromkeys(("cell", "sample_id", "sample_digest", "stage"), "str"),
        **dict.fromkeys(("position", "label", "clean_prediction", "adversarial_prediction", "iterations"), "int64"),
        **dict.fromkeys(("bare_prediction", "bare_adversarial_prediction", "certified_prediction", "queries"), "int64"),
        **dict.fromkeys(("clean_correct", "success", "robust", "rejected", "clean_rejected"), "bool"),
    }
    whole = pd.read_parquet(tmp_path / "samples")
    assert whole["cell"].unique().tolist() == [CELL]


def test_a_part_from_before_a_column_is_read_with_its_default(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_shard(CELL, 0, records([0, 1]), report(2), None)
    (path,) = (tmp_path / "samples").rglob("*.parquet")
    pq.write_table(pq.ParquetFile(path).read().drop_columns("minimal_distance"), path)
    run.write_shard(CELL, 1, [records([2])[0]._replace(minimal_distance=math.inf)], report(1), None)
    frame = run.read_samples(CELL)
    assert list(frame.columns) == list(SampleRecord._fields)
    np.testing.assert_array_equal(frame["minimal_distance"], [math.nan, math.nan, math.inf])
    run.write_shard(CELL, 0, records([3]), report(1), None)
    np.testing.assert_array_equal(run.read_samples(CELL)["minimal_distance"], [math.nan, math.nan, math.inf, 0.25])


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_any_order_and_any_pieces_give_the_same_rows(order: list[int], sizes: list[int]) -> None:
    with TemporaryDirectory() as name:
        run = RunDirectory(Path(name))
        start, number = 0, 0
        while start < len(order):
            piece = order[start : start + sizes[number % len(sizes)]]
            run.write_shard(CELL, number % 3, records(piece), report(len(piece)), images(piece))
            start, number = start + len(piece), number + 1
        frame, reports = run.read_part_frames(CELL)
        assert same(parts.to_records(frame), records(range(12)))
        assert sum(one.samples for one in reports) == 12
        examples = run.read_examples(CELL)
        assert sorted(examples.sample_ids) == list(images(range(12)).sample_ids)
        for sample, image in zip(*examples, strict=True):
            assert np.allclose(image, int(sample[-5:]) / 100)


def test_new_rows_take_the_place_of_old_ones(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_shard(CELL, 0, records([0, 1, 2]), report(3), images([0, 1, 2]))
    run.write_shard(CELL, 0, records([1, 3], broken=True), report(2), images([3]))
    frame = run.read_samples(CELL)
    assert frame["position"].tolist() == [0, 1, 2, 3]
    assert frame["success"].tolist() == [False, True, False, True]
    assert run.read_examples(CELL).sample_ids == images([0, 2, 3]).sample_ids
    assert [one.samples for one in run.read_reports(CELL)] == [3, 2]


def test_examples_without_rows_are_leftovers_of_a_kill(tmp_path: Path) -> None:
    """The rows are the commit point: examples whose rows were never written are replaced, not kept."""
    run = RunDirectory(tmp_path)
    parts.write_examples(tmp_path / "adversarial" / CELL / "part-00000.safetensors", images([7, 8]))
    run.write_shard(CELL, 0, records([0]), report(1), images([0]))
    assert run.read_examples(CELL).sample_ids == images([0]).sample_ids


def test_seals_are_of_a_cells_files_under_names_that_last(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.seals(CELL) == {}
    run.write_shard(CELL, 0, records([0, 1]), report(2), images([1]))
    run.write_shard(CELL, 1, records([2]), report(1), None)
    before = run.seals(CELL)
    assert list(before) == [
        "samples/part-00000.parquet",
        "samples/part-00001.parquet",
        "adversarial/part-00000.safetensors",
    ]
    for name, path in run.parts_of(CELL).items():
        assert before[name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert run.seals(f"another-name-{hash_of(CELL)}") == before
    run.write_shard(CELL, 1, records([3]), report(1), None)
    after = run.seals(CELL)
    assert [name for name in before if before[name] != after[name]] == ["samples/part-00001.parquet"]


def test_nothing_saved_is_empty(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    frame, reports = run.read_part_frames(CELL)
    assert list(frame.columns) == list(SampleRecord._fields)
    assert frame.empty
    assert reports == []
    assert run.read_examples(CELL).sample_ids == ()
    assert run.read_cell(CELL) is None


def test_a_cell_is_found_by_its_hash(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_shard(CELL, 0, records([0, 1]), report(2), None)
    renamed = "another-name-linf-8_255-pgd-20-s0-0123456789ab"
    assert hash_of(renamed) == hash_of(CELL)
    assert run.read_samples(renamed)["position"].tolist() == [0, 1]
    run.write_shard(renamed, 1, records([2], cell=renamed), report(1), None)
    assert run.read_samples(CELL)["position"].tolist() == [0, 1, 2]
    assert len(list((tmp_path / "samples").iterdir())) == 1


def test_rows_of_another_cell_and_rows_twice_are_refused(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_shard(CELL, 0, records([0]), report(1), None)
    directory = tmp_path / "samples" / CELL
    (directory / "part-00001.parquet").write_bytes((directory / "part-00000.parquet").read_bytes())
    with pytest.raises(StoreError, match="two rows"):
        run.read_samples(CELL)
    other = CELL.replace("0123456789ab", "ba9876543210")
    run.write_shard(other, 1, records([1], cell=other), report(1), None)
    (directory / "part-00001.parquet").write_bytes((tmp_path / "samples" / other / "part-00001.parquet").read_bytes())
    with pytest.raises(StoreError, match="rows of another cell"):
        run.read_samples(CELL)


@pytest.mark.parametrize("lost", ["robust", "sample_id"])
def test_rows_without_a_column_are_damaged(tmp_path: Path, lost: str) -> None:
    run = RunDirectory(tmp_path)
    run.write_shard(CELL, 0, records([0]), report(1), None)
    path = tmp_path / "samples" / CELL / "part-00000.parquet"
    table = pq.ParquetFile(path).read()
    pq.write_table(table.drop_columns([lost]), path)
    with pytest.raises(StoreError, match="damaged") as found:
        run.read_samples(CELL)
    assert str(path) in str(found.value)


def test_a_parquet_file_of_somebody_else_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "samples" / CELL / "part-00000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(StoreError, match="damaged"):
        RunDirectory(tmp_path).read_samples(CELL)


def test_examples_of_a_newer_bench_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "adversarial" / CELL / "part-00000.safetensors"
    with monkeypatch.context() as newer:
        newer.setattr(parts, "SCHEMA_VERSION", 2)
        parts.write_examples(path, images([0]))
    with pytest.raises(SchemaError, match="newer bench") as found:
        RunDirectory(tmp_path).read_examples(CELL)
    assert str(path) in str(found.value)


def test_a_newer_record_that_looks_the_same_is_refused(tmp_path: Path) -> None:
    """A field may keep its name and change its meaning."""
    run = build_run(tmp_path, [Planned()])
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))
    with pytest.raises(SchemaError, match="schema 2, this one reads 1"):
        run.read_run()


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(broken=[1, 2]), Planned(attack="fgsm-1", status="error", reason="≤ 8/255")])
    record_ = run.read_run()
    run.write_run(record_)
    assert run.read_run() == record_
    cells = run.read_cells()
    assert [cell.status for cell in cells] == ["done", "error"]
    for cell in cells:
        run.write_cell(cell)
        assert run.read_cell(cell.cell) == cell


HOLD = """
import sys, time
from pathlib import Path
from bench.store.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_run_from_before_adam_was_added_has_none_of_its_cells(tmp_path: Path) -> None:
    run = build_run(tmp_path, [Planned(defense="mahalanobis-1")])
    assert run.read_run().suite.run.detector_steps == 200
    path = tmp_path / "run.json"
    content = json.loads(path.read_text())
    del content["suite"]["run"]["detector_steps"]
    path.write_text(json.dumps(content))
    assert run.read_run().suite.run.detector_steps == 0


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "held\n"
            run = RunDirectory(tmp_path)
            with pytest.raises(StoreError, match=f"pid {child.pid}"), run.locked():
                pass
        finally:
            child.kill()
    with run.locked():
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
