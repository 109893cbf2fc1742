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


@pytest.mark.slow  # tox -e slow installs the extra
def test_tensorboard_reads_every_epoch_once_also_after_a_kill(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra train isn't installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = tmp_path / "a.tensorboard"

    def write(done: int, *losses: float) -> None:
        log = Log(tmp_path / "a.log.jsonl", epochs=done, tensorboard=events)
        for epoch, loss in enumerate(losses, done + 1):
            log.write(epoch, {"loss": loss, "psnr": None})

    def read() -> list[tuple[int, float]]:
        found = EventAccumulator(str(events))
        found.Reload()
        assert found.Tags()["scalars"] == ["loss"]
        return [(event.step, event.value) for event in found.Scalars("loss")]

    write(0, 4.0, 3.0, 2.5)
    assert read() == [(1, 4.0), (2, 3.0), (3, 2.5)]
    write(1, 3.5, 2.0)  # killed after the third epoch, saved after the first
    assert read() == [(1, 4.0), (2, 3.5), (3, 2.0)]
    write(0, 1.0)  # anew
    assert read() == [(1, 1.0)]
