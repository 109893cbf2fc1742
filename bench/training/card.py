"""The card of a trained model: what it is, how it came to be, and what was measured. Only measured numbers stand here."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from bench import stats
from bench.datasets.base import Dataset
from bench.digests import file_digest
from bench.errors import ModelError
from bench.metrics import estimates
from bench.stats import BoolArray
from bench.store import atomic
from bench.store.records import Estimate
from bench.suites.spec import DatasetSpec, format_eps
from bench.training.measure import Attacked
from bench.training.psnr import Denoised
from bench.training.recipe import Recipe

SCHEMA_VERSION = 1
_PACKAGES = ("robustness-bench", "torch", "numpy", "pyautoattack")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImagesFacts(_Part):
    """Which images; the sha256 is that of the whole source."""

    name: str
    split: str
    images: int
    sha256: str


class RobustAccuracy(_Part):
    """Robust accuracy under one attack: an upper bound on the true one; the interval covers the sampling of images."""

    threat_model: str
    attack: str
    args: dict[str, Any]  # Any: the attack's own parameters
    accuracy: Estimate
    seconds: float


class Denoising(_Part):
    """Mean PSNR in dB over the test images with Gaussian noise, clamped to [0, 1], before and after the denoiser.

    The intervals (bootstrap) cover the sampling of images.
    """

    std: float
    psnr_noisy: Estimate
    psnr_denoised: Estimate


class TrainingFacts(_Part):
    """How the training went; seconds are those of the training alone, without the measurements after it.

    The same recipe gives the same weights, bit for bit, where device, processor, threads and versions are the same.
    """

    epochs: int
    seconds: float
    device: str
    processor: str
    threads: tuple[int, ...]
    resumed: int
    precision: str = "float32"
    processes: int = 1
    stopped: str = ""  # why it ended before the recipe's last epoch
    best_epoch: int | None = None  # of the best weights on the held-out images
    validation: float | None = None  # their score there
    init_sha256: str = ""  # of the weights that the recipe starts from


class _Origin(_Part):
    """``<name>.json``, beside ``<name>.safetensors``: what every card says."""

    schema_version: int = SCHEMA_VERSION
    name: str
    description: str
    architecture: str
    architecture_args: dict[str, Any]  # Any: the architecture's own parameters
    input_shape: tuple[int, int, int]
    weights: str
    weights_sha256: str
    weights_bytes: int
    recipe_sha256: str
    recipe: dict[str, Any]  # Any: the recipe as JSON, every default filled in
    train_images: ImagesFacts
    test_images: ImagesFacts
    training: TrainingFacts
    versions: dict[str, str]
    command: str


class Card(_Origin):
    """The card of a classifier."""

    task: Literal["classification"] = "classification"
    num_classes: int
    clean_accuracy: Estimate
    robust_accuracy: tuple[RobustAccuracy, ...]


class DenoiserCard(_Origin):
    """The card of a denoiser: images to images."""

    task: Literal["restoration"] = "restoration"
    denoising: Denoising


def estimate(outcomes: BoolArray) -> Estimate:
    """A share of images with its 95 % Wilson interval."""
    low, high = stats.wilson(int(outcomes.sum()), len(outcomes))
    return Estimate(value=float(np.mean(outcomes)), low=round(low, 6), high=round(high, 6), n=len(outcomes))


def robust_accuracy(result: Attacked) -> RobustAccuracy:
    """The card's line of one attack."""
    return RobustAccuracy(
        threat_model=f"{result.threat_model.norm}:{format_eps(result.threat_model.eps)}",
        attack=result.attack.id or result.attack.name,
        args=result.attack.args,
        accuracy=estimate(result.robust),
        seconds=round(result.seconds, 1),
    )


def processor(device: torch.device) -> str:
    """The kind of arithmetic that the weights came from, such as ``x86_64 AVX2`` or the name of a GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def images_facts(spec: DatasetSpec, images: Dataset) -> ImagesFacts:
    """The card's line of some images."""
    return ImagesFacts(name=spec.name, split=spec.split, images=len(images), sha256=images.digest)


def save_weights(path: Path, network: nn.Module, dtype: str = "float32") -> None:
    """Writes the weights as safetensors; the same weights give the same file.

    Args:
        path: of the file.
        network: whose weights they are.
        dtype: what floating-point numbers are rounded to, ``float32`` or ``float16``.

    Raises:
        ModelError: where a weight is too large for ``float16``.
        StoreError: where the disk is full or not writable.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if dtype == "float16":
        rounded = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        large = [name for name in tensors if not torch.equal(tensors[name].isfinite(), rounded[name].isfinite())]
        if large:
            raise ModelError(
                f"{large[0]} is too large for float16: set save_dtype to float32 and run the same command, the training is kept"
            )
        tensors = rounded
    content = safetensors.torch.save(tensors, metadata={"format": "pt"})
    atomic.write(path, lambda temporary: _write(temporary, content))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def make(
    recipe: Recipe,
    *,
    weights: Path,
    train_images: Dataset,
    test_images: Dataset,
    correct: BoolArray,
    attacks: tuple[Attacked, ...],
    training: TrainingFacts,
    command: str,
) -> Card:
    """The card of a classifier's weights that are on disk."""
    return Card(
        **_origin(recipe, weights, train_images, test_images, training, command),
        num_classes=test_images.num_classes,
        clean_accuracy=estimate(correct),
        robust_accuracy=tuple(robust_accuracy(result) for result in attacks),
    )


def make_denoiser(
    recipe: Recipe,
    *,
    weights: Path,
    train_images: Dataset,
    test_images: Dataset,
    psnr: Denoised,
    training: TrainingFacts,
    command: str,
) -> DenoiserCard:
    """The card of a denoiser's weights that are on disk."""
    return DenoiserCard(
        **_origin(recipe, weights, train_images, test_images, training, command),
        denoising=Denoising(
            std=recipe.measured_std,
            psnr_noisy=_decibels(psnr.noisy),
            psnr_denoised=_decibels(psnr.denoised),
        ),
    )


def _decibels(values: npt.NDArray[np.float64]) -> Estimate:
    found = estimates.mean(values)
    said = found.model_dump(include={"value", "low", "high"})
    return found.model_copy(update={key: None if number is None else round(number, 4) for key, number in said.items()})


def _origin(
    recipe: Recipe,
    weights: Path,
    train_images: Dataset,
    test_images: Dataset,
    training: TrainingFacts,
    command: str,
) -> dict[str, Any]:  # Any: the fields that every card has
    return {
        "name": recipe.name,
        "description": recipe.description,
        "architecture": recipe.architecture,
        "architecture_args": recipe.architecture_args,
        "input_shape": test_images.shape,
        "weights": weights.name,
        "weights_sha256": file_digest(weights),
        "weights_bytes": weights.stat().st_size,
        "recipe_sha256": recipe.digest(),
        "recipe": recipe.model_dump(mode="json"),
        "train_images": images_facts(recipe.dataset, train_images),
        "test_images": images_facts(recipe.test_images, test_images),
        "training": training,
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}},
        "command": command,
    }


def save(path: Path, card: Card | DenoiserCard) -> None:
    """Writes a card.

    Raises:
        StoreError: where the disk is full or not writable.
    """
    atomic.write_text(path, card.model_dump_json(indent=2) + "\n")
