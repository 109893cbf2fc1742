from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.training.log import Log


def test_a_resumed_training_replaces_the_lines_of_epochs_that_are_done_again(tmp_path: Path) -> None:
    path = tmp_path / "a.log.jsonl"
    log = Log(path, epochs=0)
    for epoch in (1, 2, 3):
        log.write(epoch, {"loss": epoch / 2, "psnr": None})
    Log(path, epochs=1).write(2, {"loss": 9.0})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"epoch": 1, "loss": 0.5},
        {"epoch": 2, "loss": 9.0},
    ]


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is installed")
def test_tensorboard_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"tensorboard isn't installed .*\[train\]"):
        Log(tmp_path / "a", epochs=0, tensorboard=tmp_path / "events")
