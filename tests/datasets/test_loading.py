"""Names, plugins, and a package that needs no torch until images are loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import datasets, registry
from bench.errors import DatasetError, UnknownNameError
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

PLUGIN = """
import numpy as np, torch

def tiny(n=6, high=1.0):
    '''Noise.'''
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.random((n, 3, 8, 8), dtype=np.float32) * high), torch.arange(n) % 3

def wrong():
    '''Gives no pair.'''
    return [1, 2, 3]

tiny.num_classes = 4
DATASETS = {"tiny": tiny, "wrong": wrong}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[None]:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    registry.load_plugin(path)
    yield
    registry.datasets.remove(str(path))


def load(name: str, **spec: object) -> datasets.Dataset:  # type: ignore[name-defined]
    return datasets.load(DatasetSpec(name=name, **spec), Places(download=False))  # type: ignore[arg-type]


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean cifar10"):
        load("cifar-10")


@pytest.mark.usefixtures("plugin")
def test_a_plugins_images() -> None:
    data = load("tiny", n=5)
    assert data.num_classes == 4
    assert data.labels.tolist() == [0, 1, 2, 0, 1]
    assert data.sample_ids[2] == "tiny/test/00002"
    expected = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32)
    assert torch.equal(data.batch(range(5)).x, torch.from_numpy(expected))
    assert load("tiny", n=6).digest != data.digest
    assert registry.datasets.entry("tiny").summary == "Noise."


@pytest.mark.usefixtures("plugin")
def test_what_a_plugin_gives_is_checked() -> None:
    with pytest.raises(DatasetError, match=r"looks like 0\.\.255"):
        load("tiny", high=255.0)
    with pytest.raises(DatasetError, match=r"must return \(images, labels\), it returned list"):
        load("wrong")


def test_every_line_of_the_table_leads_somewhere() -> None:
    for name, entry in datasets.TABLE.items():
        assert callable(registry.datasets.load(name))
        assert entry.params is not None
        assert all(field.description for field in entry.params.model_fields.values())


def test_the_table_needs_no_torch() -> None:
    code = "import sys, bench.datasets, bench.models, bench.models.architectures; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
