"""timm's models with weights from a file; the pretrained ones need a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from bench import _imports, models
from bench.errors import ModelError, ModelUnavailable, UnknownNameError
from bench.models.base import Setting
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

TEN = Setting("cifar10", "linf", 10, (3, 32, 32))
IMAGENET = Setting("imagenet", "linf", 1000, (3, 224, 224))
OFFLINE = Places(download=False)


def timm(name: str = "resnet18", **spec: Any) -> ModelSpec:
    return ModelSpec(id="m", source="timm", name=name, **spec)


def network() -> nn.Module:
    torch.manual_seed(0)
    created: nn.Module = _imports.timm().create_model("resnet18", pretrained=False, num_classes=10).eval()
    return created


@pytest.fixture
def file(tmp_path: Path) -> Path:
    safetensors.torch.save_file(network().state_dict(), tmp_path / "r.safetensors")
    return tmp_path / "r.safetensors"


def test_weights_from_a_file_with_timms_normalisation(file: Path) -> None:
    model = models.load(timm(weights=str(file)), TEN, OFFLINE, device="cpu")
    x = torch.rand(2, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = network()((x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
        torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


def test_the_suites_normalisation_takes_its_place(file: Path) -> None:
    model = models.load(timm(weights=str(file), mean=(0.5,) * 3, std=(0.25,) * 3), TEN, OFFLINE, device="cpu")
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(x), network()((x - 0.5) / 0.25))


def test_pretrained_weights_without_a_network_are_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match="timm:resnet18: not in timm's cache, and downloads are off"):
        models.locate(timm(), IMAGENET, OFFLINE)


def test_pretrained_weights_for_other_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = _imports.timm()
    created = module.create_model("resnet18", pretrained=False)
    monkeypatch.setattr(module, "create_model", lambda *args, **kwargs: created)
    with pytest.raises(ModelError, match="timm:resnet18 tells 1000 classes apart, cifar10 has 10"):
        models.locate(timm(), TEN, OFFLINE)
    located = models.locate(timm(), IMAGENET, OFFLINE)
    assert located.path is None
    assert models.load(timm(), IMAGENET, OFFLINE, device="cpu")(torch.rand(1, 3, 32, 32)).shape == (1, 1000)


def test_refusals(file: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        models.locate(timm("resnet17"), TEN, OFFLINE)
    with pytest.raises(ModelError, match=r"fc\.weight \(10, 512\) instead of \(1000, 512\)"):
        models.load(timm(weights=str(file)), IMAGENET, OFFLINE, device="cpu")
    with pytest.raises(ModelError, match="key and sha256 go with weights"):
        models.locate(timm(sha256="0" * 64), IMAGENET, OFFLINE)
    with pytest.raises(ModelError, match="architecture: timm doesn't use it"):
        models.locate(timm(architecture="resnet18"), IMAGENET, OFFLINE)


@pytest.mark.network
def test_pretrained_weights_with_a_network() -> None:
    model = models.load(timm(), IMAGENET, Places(), device="cpu")
    model.check(torch.rand(2, 3, 224, 224))
