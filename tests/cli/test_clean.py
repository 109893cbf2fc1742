"""``bench clean``: it tells first, and removes nothing that nobody agreed to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def results(finished: Path, tmp_path: Path) -> Path:
    """Two runs, one with something to remove."""
    for name in ("one", "two"):
        shutil.copytree(finished, tmp_path / "results" / "small" / name)
    (tmp_path / "results" / "small" / "two" / "cells" / ".x.json.17.tmp").write_text("half a record")
    return tmp_path / "results"


def test_it_only_tells_where_nobody_can_answer(bench: Any, results: Path) -> None:
    half = results / "small" / "two" / "cells" / ".x.json.17.tmp"
    told = bench("clean", results)
    assert told.code == 8
    (line,) = (line for line in told.out.splitlines() if line.startswith("half-written file"))
    assert line.split()[-4:] == ["cells/.x.json.17.tmp", "1", "13", "B"]
    assert f"bench clean {results} --yes removes it" in told.out
    assert half.exists()
    done = bench("clean", results, "--yes")
    assert (done.code, half.exists()) == (0, False)
    assert "removed: 13 B" in done.out
    again = bench("clean", results / "small")
    assert (again.code, again.out) == (0, "nothing to remove\n")


def test_no_run_is_2(bench: Any, tmp_path: Path) -> None:
    ended = bench("clean", tmp_path)
    assert (ended.code, "no run here" in ended.err) == (2, True)
