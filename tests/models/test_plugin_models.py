"""Models that a plugin file or an installed package adds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import models, registry
from bench.errors import ModelError
from bench.models.base import Setting
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

SETTING = Setting("cifar10", "linf", 10, (3, 4, 4))
PLACES = Places(download=False)
PLUGIN = """
import torch
from torch import nn

def linear(scale=1.0, name="a"):
    '''A linear model with known weights.'''
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    with torch.no_grad():
        network[1].weight.fill_(scale)
        network[1].bias.copy_(torch.arange(10.0) + len(name))
    return network

def unseeded():
    return nn.Linear(48, 10)

def raises():
    raise KeyError("weights.pt")

MODELS = {"linear": linear, "unseeded": unseeded, "raises": raises, "number": lambda: 3}
"""


@pytest.fixture(autouse=True)
def plugin(tmp_path: Path) -> Iterator[None]:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    registry.load_plugin(path)
    yield
    registry.models.remove(str(path))


def spec(source: str, **more: Any) -> ModelSpec:
    return ModelSpec(id="m", source=source, **more)


def test_the_network_of_a_plugin() -> None:
    model = models.load(spec("linear", args={"scale": 0.5}, mean=(0.5,), std=(0.5,)), SETTING, PLACES, device="cpu")
    logits = model(torch.ones(1, 3, 4, 4))
    assert logits.tolist() == [[24.0 + 1 + k for k in range(10)]]


def test_digests_see_weights_code_and_arguments() -> None:
    one = models.locate(spec("linear"), SETTING, PLACES)
    assert models.locate(spec("linear"), SETTING, PLACES) == one
    scaled = models.locate(spec("linear", args={"scale": 2.0}), SETTING, PLACES)
    named = models.locate(spec("linear", name="abc"), SETTING, PLACES)
    assert len({found.weights_digest for found in (one, scaled, named)}) == 3
    assert len({found.architecture_digest for found in (one, scaled, named)}) == 3


def test_weights_of_the_suite_are_loaded_into_it(tmp_path: Path) -> None:
    torch.save({"1.weight": torch.zeros(10, 48), "1.bias": torch.ones(10)}, tmp_path / "w.pt")
    model = models.load(spec("linear", weights=str(tmp_path / "w.pt")), SETTING, PLACES, device="cpu")
    assert model(torch.rand(1, 3, 4, 4)).tolist() == [[1.0] * 10]


@pytest.mark.parametrize(
    ("source", "more", "message"),
    [
        ("raises", {}, r"m: raises \(from .*plugin\.py\) raised KeyError: 'weights\.pt'"),
        ("number", {}, "must give an nn.Module, it gives int"),
        ("linear", {"args": {"depth": 3}}, "raised TypeError: .*depth"),
        ("linear", {"architecture": "resnet18"}, "architecture: linear is a plugin, which doesn't use it"),
        ("linear", {"key": "state_dict"}, "key: linear is a plugin"),
        ("unseeded", {}, "gives other weights each time"),
    ],
)
def test_refusals(source: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.load(spec(source, **more), SETTING, PLACES, device="cpu")


def test_an_edit_of_the_same_length_in_the_same_second_is_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's bytecode cache knows a file by its length and second: it would run the text from before."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "edited.py"
    for number in (1, 2):
        path.write_text(f"from pathlib import Path\nMODELS = {{'edited': lambda: {number}, 'at': lambda: __file__}}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        registry.load_plugin(path)
        assert registry.models.load("edited")() == number
        assert registry.models.load("at")() == str(path)
    registry.models.remove(str(path))


def test_a_plugin_is_compiled_for_itself(tmp_path: Path) -> None:
    """Not with the future statements of bench's own files; an encoding that the file declares holds."""
    path = tmp_path / "mine.py"
    path.write_bytes("# coding: latin-1\ndef size(x: 1): return 'ä'\nMODELS = {'size': size}\n".encode("latin-1"))
    registry.load_plugin(path)
    size = registry.models.load("size")
    assert (size.__annotations__, size(1)) == ({"x": 1}, "ä")
    registry.models.remove(str(path))
