"""Weights from files, through the whole way from the suite's words to the counted model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from bench import datasets, models
from bench.datasets.base import Batch
from bench.errors import ModelError, ModelUnavailable, UnsafeWeights
from bench.models.architectures.resnet_2b import resnet_2b
from bench.models.base import Setting
from bench.models.wrapper import CountedModel
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, ModelSpec

CIFAR10 = Setting("cifar10", "linf", 10, (3, 32, 32))
MNIST = Setting("mnist", "linf", 10, (1, 28, 28))
PLACES = Places(download=False)

I = {"mean": (0.485, 0.456, 0.406), "std": (0.225, 0.225, 0.225)}  # noqa: E741 (the name in the table)
S = {"mean": tuple(v / 255 for v in (125.3, 123.0, 113.9)), "std": tuple(v / 255 for v in (63.0, 62.1, 66.7))}
D = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}
MEDIUM = {"name": "wong_kolter", "padding": 0, "hidden": [128, 64]}
CIFAR_TABLE: list[tuple[str, Any, dict[str, Any], str | None, int]] = [
    ("resnet2b.pth", "resnet_2b", D, "state_dict", 355),
    ("cifar_cnn_a_adv.model", "wong_kolter", S, None, 333),
    ("cifar_cnn_a_mix.model", "wong_kolter", S, None, 385),
    ("cifar_wide_kw.pth", "wong_kolter", I, "state_dict.0", 322),
    ("cifar_madry_8px.pth", "wong_kolter", I, "state_dict.0", 175),
    ("cifar_sgd_8px.pth", "wong_kolter", I, "state_dict.0", 379),
    ("kw_cifar_small_8px.pth", "wong_kolter", I, "state_dict.0", 171),
    ("cifar_marabou_medium.pth", MEDIUM, {}, None, 361),
]


def checkpoint(**spec: Any) -> ModelSpec:
    return ModelSpec.model_validate({"source": "checkpoint", **spec})


def correct(model: CountedModel, batch: Batch) -> int:
    with torch.no_grad():
        logits = torch.cat([model(x) for x in batch.x.split(128)])
    return int((logits.argmax(1) == batch.y).sum())


@pytest.fixture(scope="module")
def cifar(shared: Path) -> Batch:
    spec = DatasetSpec(name="cifar10", path=str(shared / "cifar10/cifar10_test_0_511.npz"))
    return datasets.load(spec, PLACES).batch(range(512))


@pytest.mark.parametrize("auto", [False, True])
@pytest.mark.parametrize("row", CIFAR_TABLE, ids=lambda row: row[0])
def test_real_weights_are_right_on_as_many_images_as_the_table_says(
    row: tuple[str, Any, dict[str, Any], str | None, int], auto: bool, shared: Path, cifar: Batch
) -> None:
    file, architecture, normalisation, key, expected = row
    spec = checkpoint(
        weights=str(shared / "models" / file), architecture=architecture, key=None if auto else key, **normalisation
    )
    model = models.load(spec, CIFAR10, PLACES, device="cpu")
    model.check(cifar.x[:2])
    assert correct(model, cifar) == expected
    assert model.passes.forward == 512


@pytest.mark.parametrize(("file", "expected"), [("mnist_pgd_madry.pth", 9899), ("mnist_wide_kw.pth", 9905)])
def test_real_mnist_weights(file: str, expected: int, shared: Path) -> None:
    digits = datasets.load(DatasetSpec(name="mnist", path=str(shared / "mnist")), PLACES).batch(range(10000))
    architecture = {"name": "wong_kolter", "in_channels": 1, "image_size": 28}
    spec = checkpoint(weights=str(shared / "models" / file), architecture=architecture)
    assert correct(models.load(spec, MNIST, PLACES, device="cpu"), digits) == expected


def test_a_list_of_state_dicts_is_noted(shared: Path) -> None:
    spec = checkpoint(weights=str(shared / "models/kw_cifar_small_8px.pth"), architecture="wong_kolter", **I)
    located = models.locate(spec, CIFAR10, PLACES)
    assert located.note == "item 0 of 3 state dicts in kw_cifar_small_8px.pth"
    assert located.weights_digest == hashlib.sha256(Path(str(spec.weights)).read_bytes()).hexdigest()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    safetensors.torch.save_file(resnet_2b().state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_located_and_loaded(weights: Path) -> None:
    spec = checkpoint(weights=str(weights), architecture="resnet_2b", mean=[0.5] * 3, std=[0.25] * 3)
    located = models.locate(spec, CIFAR10, PLACES)
    assert located.path == weights
    assert located.published is None
    wider = checkpoint(weights=str(weights), architecture={"name": "resnet_2b", "hidden": 100})
    assert models.locate(wider, CIFAR10, PLACES).architecture_digest != located.architecture_digest
    model = models.load(spec, CIFAR10, PLACES, device="cpu")
    torch.manual_seed(0)
    x = torch.rand(2, 3, 32, 32)
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(model(x), resnet_2b()((x - 0.5) / 0.25))


def test_a_missing_layer_is_named(weights: Path, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(weights)
    del state["layer1.0.conv2.bias"]
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"w\.pt into resnet_2b: .* missing: layer1\.0\.conv2\.bias$"):
        models.load(checkpoint(weights=str(tmp_path / "w.pt"), architecture="resnet_2b"), CIFAR10, PLACES, device="cpu")


def test_other_classes_do_not_fit(weights: Path) -> None:
    with pytest.raises(ModelError, match=r"linear2\.weight \(10, 100\) instead of \(100, 100\)"):
        models.load(
            checkpoint(weights=str(weights), architecture="resnet_2b"),
            Setting("cifar100", "linf", 100, (3, 32, 32)),
            PLACES,
            device="cpu",
        )


@pytest.mark.parametrize(
    ("more", "kind", "message"),
    [
        ({"sha256": "0" * 64}, ModelError, "sha256 is"),
        ({"mean": [0.5, 0.5], "std": [0.5, 0.5]}, ModelError, "mean: 2 numbers for images of 3 channels"),
        ({"mean": [0.5] * 3}, ModelError, "mean and std go together"),
        ({"name": "x"}, ModelError, "w: name: checkpoint doesn't use it"),
        ({"directory": "x"}, ModelError, "directory: checkpoint doesn't use it"),
        ({"args": {"x": 1}}, ModelError, r"args: x: Extra inputs are not permitted \(accepted: none\)"),
        ({"key": "state_dict"}, ModelError, "there is no 'state_dict'"),
        ({"architecture": None}, ModelError, "architecture: missing"),
        ({"architecture": "resnet18"}, ModelError, "into resnet18: the weights don't fit"),
        ({"weights": "absent.pt"}, ModelUnavailable, r"absent\.pt: no such file"),
    ],
)
def test_refusals(weights: Path, more: dict[str, Any], kind: type[Exception], message: str) -> None:
    spec = checkpoint(**{"id": "w", "weights": str(weights), "architecture": "resnet_2b", **more})
    with pytest.raises(kind, match=message):
        models.load(spec, CIFAR10, PLACES, device="cpu")


def test_unsafe_weights_are_found_before_anything_is_built(tmp_path: Path) -> None:
    torch.save(resnet_2b(), tmp_path / "w.pt")
    spec = checkpoint(weights=str(tmp_path / "w.pt"), architecture="resnet_2b")
    with pytest.raises(UnsafeWeights, match=r"resnet_2b\.ResNet2b.*--allow-pickle"):
        models.locate(spec, CIFAR10, PLACES)
    trusting = Places(allow_pickle=frozenset({(tmp_path / "w.pt").resolve()}))
    assert models.load(spec, CIFAR10, trusting, device="cpu").num_classes == 10
