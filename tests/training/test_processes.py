from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from bench.errors import ModelError
from bench.training.load import load
from bench.training.processes import Processes
from bench.training.train import _check_processes, train


@pytest.mark.parametrize("images", [7, 40, 41])
def test_each_image_of_a_batch_belongs_to_one_process(images: int) -> None:
    parts = [Processes(3, rank).part(images) for rank in range(3)]
    assert [place for part in parts for place in part] == list(range(images))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_two_processes_train_what_one_does(mini: Path, tmp_path: Path) -> None:
    changes = ["validation={samples: 40}", "evaluation={samples: 0}"]
    alone = train(mini, overrides=changes, output=tmp_path / "one", device="cpu")
    sets = [part for change in changes for part in ("--set", change)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    call = [*launcher, "-m", "bench", "train", str(mini), *sets, "--device", "cpu", "--output", str(tmp_path / "two")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 3/3") == 1
    assert alone is not None
    one = safetensors.torch.load_file(alone.weights)
    two = safetensors.torch.load_file(tmp_path / "two" / "mini.safetensors")
    for name, weight in one.items():
        assert torch.allclose(weight, two[name], atol=1e-4)
    assert json.loads((tmp_path / "two" / "mini.json").read_text())["training"]["processes"] == 2


def test_what_processes_cannot_do_alike_is_refused(mini: Path) -> None:
    with pytest.raises(ModelError, match="free training"):
        _check_processes(load(mini, overrides=["method={name: free, eps: 0.1}"]), Processes(2))
    with pytest.raises(ModelError, match="batch_size: 3 images for 2 processes"):
        _check_processes(load(mini, overrides=["batch_size=3"]), Processes(2))
