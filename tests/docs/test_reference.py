"""The generated page is up to date, and the suites that the docs show can work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.suites.check import check
from bench.suites.load import load_suite

ROOT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/suites.md"])
def test_the_suites_in_the_docs_can_work(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    whole = [block for block in blocks if block.startswith("name:")]
    assert whole
    for number, block in enumerate(whole):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block)
        check(load_suite(path))
