"""A run that bench wrote on its first day: it is read, compared, and gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from bench import leaderboard
from bench.leaderboard.compare import compare
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.store import parts
from bench.store.outcomes import read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

ARCHIVE = Path(__file__).with_name("first_day.zip")
"""By commit ea8855a: ``bench run old.yaml``. Its rows lack every column that has a default now."""
WORST = {"mnist_standard": 4 / 6, "mnist_standard + bit_depth-bits3": 3 / 6}
"""What it printed then."""


@pytest.fixture
def old(tmp_path: Path) -> RunDirectory:
    shutil.unpack_archive(ARCHIVE, tmp_path / "results")
    return RunDirectory(tmp_path / "results" / "old" / "default")


def test_an_old_run_says_what_it_said(old: RunDirectory) -> None:
    outcome = read_outcomes(old)
    assert {row.label: row.worst_correctness.mean() for row in outcome.rows} == WORST
    assert all(row.complete for row in outcome.rows)
    assert "66.7 (30.0–90.3)" in leaderboard.text(old, outcome=outcome)
    found = compare(old, old)
    assert {entry.difference for pair in found.pairs for entry in pair.entries} == {0.0}


def test_an_old_run_goes_on_and_keeps_what_it_has(old: RunDirectory) -> None:
    """The attacks have other revisions by now: their cells are new ones, and the old files stay as they are."""
    suite = old.path.parent / "old.yaml"
    before = {path: path.read_bytes() for path in old.path.rglob("*/*") if path.is_file()}
    settings = RunSettings(old.path.parent.parent, device="cpu", places=Places(download=False))
    summary = run_suite(load_suite(suite), settings)
    assert {result.status for result in summary.results} == {"done"}
    assert {path: path.read_bytes() for path in before} == before
    outcome = read_outcomes(old)
    assert {row.label: row.clean_correct.all() for row in outcome.rows} == dict.fromkeys(WORST, True)


def test_new_rows_join_an_old_part(old: RunDirectory) -> None:
    """Samples that are added to a part from before the later columns leave its rows as they were."""
    cell = next(cell for cell in old.read_run().cells if cell.startswith("mnist_standard-linf"))
    (path,) = old.sample_parts(cell)
    rows, (report,) = parts.read_rows(path)
    added = parts.to_records(rows)[0]._replace(position=6, sample_id="mnist/test/00006", l1=1.0, queries=3)
    old.write_shard(cell, 0, [added], report, None)
    joined, reports = old.read_part_frames(cell)
    pd.testing.assert_frame_equal(joined.iloc[:6], rows)
    assert joined["queries"].tolist() == [-1] * 6 + [3]
    assert len(reports) == 2
