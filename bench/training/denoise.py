"""Training a denoising autoencoder (Vincent et al. 2008, doi:10.1145/1390156.1390294)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.training.method import Outcome, Step
from bench.training.parameters import DenoiseParams


class Denoise:
    """Minimises the mean squared error between the clean image and what the network makes of it with noise.

    The noise is Gaussian, drawn anew in every step; the noisy image is clamped to [0, 1], as every image that a purifier
    gets lies there.
    """

    def __init__(self, params: DenoiseParams) -> None:
        self.params = params

    def step(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The mean squared error on the batch; labels aren't looked at."""
        low, high = self.params.levels
        std = low + (high - low) * torch.rand(len(x), 1, 1, 1, generator=step.generator)
        return Outcome(F.mse_loss(model(with_noise(x, std, step.generator)), x), None)


def with_noise(x: Tensor, std: Tensor | float, generator: torch.Generator) -> Tensor:
    """Images with Gaussian noise, clamped to [0, 1].

    Args:
        x: images in [0, 1], shape (N, C, H, W).
        std: standard deviation in [0, 1] units, a number or one for each image, shape (N, 1, 1, 1), on the CPU.
        generator: on the CPU, so that every device sees the same noise.
    """
    noise = std * torch.randn(x.shape, generator=generator)
    return (x + noise.to(x.device)).clamp(0, 1)
