from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import StoreError
from bench.models.architectures.mnist_cnn import mnist_cnn
from bench.training import checkpoint, loop
from bench.training.checkpoint import State
from bench.training.load import load

CPU = torch.device("cpu")


@pytest.fixture
def state(mini: Path) -> State:
    return loop.fresh(load(mini), lambda: mnist_cnn(channels=(2, 2), hidden=4), CPU)


def test_a_state_comes_back(state: State, mini: Path, tmp_path: Path) -> None:
    state.epoch, state.step, state.seconds = 2, 5, 12.5
    state.tally.seen = 320
    state.tally.loss += 3.25
    state.tally.correct += 17
    checkpoint.save(tmp_path / "c", state, identity={"recipe": "a"})
    fresh = loop.fresh(load(mini, overrides=["seed=9"]), lambda: mnist_cnn(channels=(2, 2), hidden=4), CPU)
    fresh.threads = [64]
    checkpoint.restore(tmp_path / "c", fresh, identity={"recipe": "a"}, device=CPU, epochs=3)
    assert (fresh.epoch, fresh.step, fresh.seconds, fresh.resumed) == (2, 5, 12.5, 1)
    assert (float(fresh.tally.loss), int(fresh.tally.correct), fresh.tally.seen) == (3.25, 17, 320)
    assert fresh.threads == [*state.threads, 64]
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(tensor, fresh.model.state_dict()[name])


@pytest.mark.parametrize("ended", [{"epoch": 3}, {"epoch": 2, "stopped": "patience"}], ids=["last epoch", "stopped"])
def test_a_training_that_is_over_is_not_taken_up_again(state: State, mini: Path, tmp_path: Path, ended: Any) -> None:
    for name, value in ended.items():
        setattr(state, name, value)
    checkpoint.save(tmp_path / "c", state, identity={})
    fresh = loop.fresh(load(mini), lambda: mnist_cnn(channels=(2, 2), hidden=4), CPU)
    fresh.threads = [64]
    checkpoint.restore(tmp_path / "c", fresh, identity={}, device=CPU, epochs=3)
    assert (fresh.resumed, fresh.threads) == (0, state.threads)


def test_the_checkpoint_of_another_training_is_refused(state: State, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", state, identity={"recipe": "a", "images": "i"})
    with pytest.raises(StoreError, match=r"belongs to another training \(other recipe\)"):
        checkpoint.restore(tmp_path / "c", state, identity={"recipe": "b", "images": "i"}, device=CPU, epochs=3)


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 half"])
def test_a_damaged_checkpoint_is_told(state: State, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(StoreError, match="delete it to start anew"):
        checkpoint.restore(tmp_path / "c", state, identity={}, device=CPU, epochs=3)


def test_half_a_checkpoint_is_told(state: State, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", state, identity={})
    whole = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StoreError, match="damaged"):
        checkpoint.restore(tmp_path / "c", state, identity={}, device=CPU, epochs=3)


def test_a_checkpoint_that_would_run_code_is_refused(state: State, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"schema_version": 1, "identity": Evil()}, tmp_path / "c")
    with pytest.raises(StoreError, match="damaged"):
        checkpoint.restore(tmp_path / "c", state, identity={}, device=CPU, epochs=3)
    assert not (tmp_path / "ran").exists()


def test_another_file_is_told(state: State, tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "c")
    with pytest.raises(StoreError, match="not a checkpoint of bench"):
        checkpoint.restore(tmp_path / "c", state, identity={}, device=CPU, epochs=3)


def test_a_full_disk_leaves_the_old_checkpoint(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(tmp_path / "c", state, identity={})
    before = (tmp_path / "c").read_bytes()

    def full(path: Path, content: bytes) -> int:
        path.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="no space left on the device"):
        checkpoint.save(tmp_path / "c", state, identity={})
    assert (tmp_path / "c").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
