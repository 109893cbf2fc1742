"""``bench merge``: what it says, and how it ends."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.store.run_directory import RunDirectory

pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    """Where the joined run goes."""
    return tmp_path / "small" / "joined"


def test_a_dry_run_tells_and_the_real_one_does(bench: Any, finished: Path, joined: Path) -> None:
    cells = len(RunDirectory(finished).read_run().cells)
    told = bench("merge", finished, "--into", joined, "--dry-run")
    assert (told.code, joined.exists()) == (0, False)
    assert f"{joined} would have {cells} cells, {cells} of them done" in told.out
    line = next(line for line in told.out.splitlines() if line.startswith(str(finished)))
    assert line.split()[1:] == [str(cells), "12", str(cells), str(12 * cells)]
    done = bench("merge", finished, "--into", joined)
    assert done.code == 0, done.err
    assert f"{joined} has {cells} cells, {cells} of them done" in done.out
    assert "worst case" in done.out
    assert {"leaderboard.csv", "report.html"} <= {path.name for path in joined.iterdir()}
    again = bench("merge", finished, "--into", joined)
    assert (again.code, "nothing changes: all of it is there already" in again.out) == (0, True)


def test_what_is_left_to_do_is_3(bench: Any, finished: Path, tmp_path: Path, joined: Path) -> None:
    """A part that is gone, and an error: both are named."""
    partial = RunDirectory(Path(shutil.copytree(finished, tmp_path / "partial")))
    first, second = partial.read_cells()[:2]
    partial.write_cell(first.model_copy(update={"status": "error", "metrics": {}, "reason": "out of memory"}))
    for path in (partial.sample_parts(first.cell)[0], partial.sample_parts(second.cell)[0]):
        path.unlink()
    refused = bench("merge", partial.path, "--into", joined)
    assert (refused.code, joined.exists()) == (2, False)
    assert f"cells/{second.cell}.json: its files aren't those that it was finished with" in refused.err
    shutil.copy(RunDirectory(finished).sample_parts(second.cell)[0], partial.sample_parts(second.cell)[0].parent)
    ended = bench("merge", partial.path, "--into", joined)
    assert ended.code == 3
    assert "error: out of memory" in ended.out
    whole = bench("merge", partial.path, finished, "--into", joined)
    assert whole.code == 0, whole.out


def test_what_cannot_be_joined_is_2(bench: Any, finished: Path, tmp_path: Path, joined: Path) -> None:
    ended = bench("merge", tmp_path, "--into", joined)
    assert (ended.code, "no run.json here" in ended.err) == (2, True)
    ended = bench("merge", finished, "--into", joined, "--prefer", tmp_path)
    assert (ended.code, joined.exists()) == (2, False)
    ended = bench("merge", finished)
    assert (ended.code, "--into" in ended.err) == (2, True)
