"""What ``bench train`` wrote is a model of a suite as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from bench import models
from bench.errors import ModelError, ModelUnavailable
from bench.models.base import Setting
from bench.models.zoo.cards import FOLDER
from bench.suites.places import Places
from bench.suites.spec import ModelSpec

MNIST = Setting("mnist", "linf", 10, (1, 28, 28))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights and card as a training leaves them."""
    for suffix in ("safetensors", "json"):
        shutil.copy(FOLDER / f"mnist_standard.{suffix}", tmp_path / f"mnist_standard.{suffix}")
    return tmp_path / "mnist_standard.safetensors"


def spec(path: Path) -> ModelSpec:
    return ModelSpec.model_validate(f"trained:{path}")


def test_the_card_beside_the_weights_says_the_rest(weights: Path) -> None:
    one, zoo = spec(weights), ModelSpec.model_validate("zoo:mnist_standard")
    assert one.id == "mnist_standard"
    found, known = models.locate(one, MNIST, Places()), models.locate(zoo, MNIST, Places())
    assert found.weights_digest == known.weights_digest
    assert found.architecture_digest == known.architecture_digest
    x = torch.rand(3, 1, 28, 28)
    assert torch.equal(*(models.load(each, MNIST, Places(), device="cpu")(x) for each in (one, zoo)))


def test_a_card_of_other_weights_is_refused(weights: Path) -> None:
    shutil.copy(FOLDER / "mnist_pgd.safetensors", weights)
    with pytest.raises(ModelError, match="that of other weights"):
        models.locate(spec(weights), MNIST, Places())


def test_weights_without_a_card_and_of_other_images_are_refused(weights: Path) -> None:
    with pytest.raises(ModelError, match=r"is for images of shape \(1, 28, 28\)"):
        models.locate(spec(weights), Setting("cifar10", "linf", 10, (3, 32, 32)), Places())
    weights.with_suffix(".json").unlink()
    with pytest.raises(ModelUnavailable, match="no card beside the weights"):
        models.locate(spec(weights), MNIST, Places())


def test_a_denoiser_is_no_model(tmp_path: Path) -> None:
    for suffix in ("safetensors", "json"):
        shutil.copy(FOLDER / f"mnist_denoiser.{suffix}", tmp_path / f"d.{suffix}")
    with pytest.raises(ModelError, match="is a denoiser"):
        models.locate(spec(tmp_path / "d.safetensors"), MNIST, Places())
