"""What a trained denoiser is worth: PSNR of noisy test images, before and after it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bench.datasets.base import Dataset
from bench.runner.judge import exact_arithmetic
from bench.training.denoise import with_noise
from bench.training.measure import BATCH_SIZE, evaluating
from bench.training.seeds import Seeds

_LEAST_ERROR = 1e-10
"""Mean squared errors below it count as it, so that a PSNR is at most 100 dB and never infinite."""


class Denoised(NamedTuple):
    """PSNR in dB of each image, shape (N,): of the noisy one, and of what the network makes of it."""

    noisy: npt.NDArray[np.float64]
    denoised: npt.NDArray[np.float64]


def denoised(network: nn.Module, images: Dataset, std: float, device: torch.device) -> Denoised:
    """PSNR against the clean images under Gaussian noise, clamped to [0, 1], from a fixed seed.

    Args:
        network: images to images; its mode is left as it was.
        images: the test images.
        std: standard deviation of the noise in [0, 1] units.
        device: where the network is.
    """
    found: list[tuple[Tensor, Tensor]] = []
    with evaluating(network), torch.no_grad(), exact_arithmetic():
        for first in range(0, len(images), BATCH_SIZE):
            x = images.batch(range(first, min(first + BATCH_SIZE, len(images)))).x.to(device)
            noise = std * torch.randn(x.shape, generator=Seeds(0).generator("noisy", step=first))
            noisy = with_noise(x, noise)
            found.append((psnr(noisy, x), psnr(network(noisy), x)))
    before, after = (torch.cat(part).cpu().double().numpy() for part in zip(*found, strict=True))
    return Denoised(before, after)


def psnr(x: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, ``-10 log10(mean squared error)`` for images in [0, 1], shape (N,)."""
    error = (x.float() - reference.float()).square().flatten(1).mean(1)
    return -10 * error.clamp(min=_LEAST_ERROR).log10()
