"""Choosing the best weights on images that are held out of the training ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from bench import threat_models
from bench.datasets.base import Dataset
from bench.errors import DatasetError
from bench.runner.judge import exact_arithmetic
from bench.training import psnr
from bench.training.checkpoint import Best
from bench.training.draws import BatchDraws
from bench.training.measure import BATCH_SIZE, evaluating
from bench.training.parameters import Validation
from bench.training.pgd import perturb
from bench.training.recipe import Recipe
from bench.training.seeds import Seeds


def split(images: Dataset, validation: Validation, seed: int) -> tuple[Dataset, Dataset]:
    """The images to train on, and the held-out ones, drawn from the seed; no image is in both.

    Raises:
        DatasetError: where too few are left to train on.
    """
    if validation.samples > len(images) // 2:
        raise DatasetError(
            f"validation.samples: {validation.samples} of {len(images)} training images would be held out "
            f"(accepted: up to {len(images) // 2})"
        )
    order = torch.randperm(len(images), generator=Seeds(seed).generator("validation")).numpy()
    held_out, rest = np.sort(order[: validation.samples]), np.sort(order[validation.samples :])
    return _only(images, rest), _only(images, held_out)


def _only(images: Dataset, rows: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Dataset:
    return dataclasses.replace(
        images,
        images=images.images[rows],
        labels=images.labels[rows],
        sample_ids=tuple(images.sample_ids[row] for row in rows),
        positions=images.positions[rows],
    )


def score(network: nn.Module, images: Dataset, recipe: Recipe, device: torch.device) -> float:
    """Robust accuracy under PGD in float32, 0 to 1; clean accuracy where there is no threat model; a denoiser's PSNR in dB.

    Args:
        network: its mode is left as it was.
        images: the held-out ones.
        recipe: with its validation.
        device: where the network is.
    """
    assert recipe.validation is not None
    if recipe.task == "restoration":
        return float(psnr.denoised(network, images, recipe.measured_std, device).denoised.mean())
    said, steps, right = recipe.validated_under, recipe.validation.steps, 0
    with evaluating(network), exact_arithmetic():
        for first in range(0, len(images), BATCH_SIZE):
            x, y = (part.to(device) for part in images.batch(range(first, min(first + BATCH_SIZE, len(images)))))
            with torch.no_grad():
                correct = network(x).argmax(1) == y
            if said is not None:
                x_adv = perturb(
                    network,
                    x,
                    y,
                    threat_model=threat_models.build(said.norm, said.eps),
                    steps=steps,
                    alpha=2.5 * float(said.eps) / steps,
                    draws=BatchDraws(Seeds(0).generator("validation", step=first), len(x), 0, len(x), device),
                )
                with torch.no_grad():
                    correct &= network(x_adv).argmax(1) == y
            right += int(correct.sum())
    return right / len(images)


def better(best: Best | None, network: nn.Module, epoch: int, score: float) -> Best:
    """The best weights after one more look."""
    if best is not None and score <= best.score:
        return dataclasses.replace(best, looks=best.looks + 1)
    return Best(epoch, score, 0, {name: tensor.clone() for name, tensor in network.state_dict().items()})
