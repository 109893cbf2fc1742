"""``bench report``: tables and plots again, on a machine without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A run that the test may change: results/small/default."""
    target = tmp_path / "results" / "small" / "default"
    shutil.copytree(finished, target)
    return target


def test_report_without_torch_gives_the_same_tables(bench: object, copy: Path, tmp_path: Path) -> None:
    first = bench("report", copy)  # type: ignore[operator]
    assert first.code == 0
    files = {path.name: path.read_bytes() for path in copy.glob("leaderboard.*")}
    assert set(files) == {"leaderboard.md", "leaderboard.csv", "leaderboard.json", "leaderboard.tex"}
    plots = {path.name: path.read_bytes() for path in (copy / "plots").iterdir()}
    assert {"robust_accuracy.png", "robust_accuracy.pdf"} <= set(plots)
    for path in [*copy.glob("leaderboard.*"), *(copy / "plots").iterdir()]:
        path.unlink()
    fake = tmp_path / "fake"
    fake.mkdir()
    (fake / "torch.py").write_text("raise ImportError('no torch on this laptop')")
    environment = {**os.environ, "PYTHONPATH": str(fake), "COLUMNS": "120"}
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "report", str(copy)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == first.out
    assert {path.name: path.read_bytes() for path in copy.glob("leaderboard.*")} == files
    assert {path.name: path.read_bytes() for path in (copy / "plots").iterdir()} == plots
    for path in ended.stdout.rsplit("\n\n", 1)[1].split():
        assert Path(path).is_file()


def test_the_page_alone(bench: object, copy: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    ended = bench("report", copy, "--html")  # type: ignore[operator]
    assert (ended.code, ended.out.strip()) == (0, str(copy / "report.html"))
    assert (copy / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} == {copy / "report.html"}


def test_report_takes_the_directory_of_a_suite(bench: object, copy: Path) -> None:
    assert bench("report", copy.parent).code == 0  # type: ignore[operator]
    shutil.copytree(copy, copy.parent / "second")
    ended = bench("report", copy.parent)  # type: ignore[operator]
    assert ended.code == 2
    assert "default, second" in ended.err


@pytest.mark.parametrize("place", ["nothing/here", "."])
def test_report_of_what_is_no_run(bench: object, tmp_path: Path, place: str) -> None:
    ended = bench("report", tmp_path / place)  # type: ignore[operator]
    assert ended.code == 2
    assert "run.json" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"schema_version": 1}'])
@pytest.mark.parametrize("file", ["run.json", "cells"])
def test_a_damaged_record_is_named(bench: object, copy: Path, file: str, damage: bytes) -> None:
    path = copy / file if file == "run.json" else sorted((copy / "cells").iterdir())[0]
    path.write_bytes(damage)
    ended = bench("report", copy)  # type: ignore[operator]
    assert ended.code == 2
    assert str(path) in ended.err
    assert "damaged" in ended.err or "can't read" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("file", ["run.json", "cells"])
def test_records_of_a_newer_bench_are_refused(bench: object, copy: Path, file: str) -> None:
    path = copy / file if file == "run.json" else sorted((copy / "cells").iterdir())[0]
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "schema_version": 99, "something_new": True}))
    ended = bench("report", copy)  # type: ignore[operator]
    assert ended.code == 2
    assert str(path) in ended.err
    assert "newer bench (schema 99, this one reads 1)" in ended.err


def test_damaged_rows_never_give_a_number(bench: object, copy: Path) -> None:
    cell = next(path for path in sorted((copy / "samples").iterdir()) if "pgd" in path.name and "bit" not in path.name)
    part = sorted(cell.iterdir())[0]
    part.write_bytes(part.read_bytes()[:-50])
    ended = bench("report", copy)  # type: ignore[operator]
    assert ended.code == 0
    assert str(part) in " ".join(ended.out.split())
    assert "error" in ended.out
    board = json.loads((copy / "leaderboard.json").read_text())
    rows = [row for row in board["tables"][0]["rows"] if row["defense"] == "none"]
    assert rows[0]["rank"] is None
    assert not rows[0]["complete"]
