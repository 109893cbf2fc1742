"""Training a denoising autoencoder (Vincent et al. 2008, doi:10.1145/1390156.1390294)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import DenoiseParams
from bench.training.noise import gaussian


class Denoise(TrainingMethod):
    """Minimises the mean squared error between the clean image and what the network makes of it with noise.

    The noise is Gaussian, drawn anew in every step; the noisy image is clamped to [0, 1], as every image that a purifier
    gets lies there.
    """

    def __init__(self, params: DenoiseParams) -> None:
        self.params = params

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """The noisy images."""
        return with_noise(x, gaussian(self.params, x, step.draws))

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The mean squared error on the batch; labels aren't looked at."""
        return Outcome(F.mse_loss(model(x_adv).float(), x), None)


def with_noise(x: Tensor, noise: Tensor) -> Tensor:
    """Images in [0, 1] with this noise, clamped to [0, 1]."""
    return (x + noise.to(x.device)).clamp(0, 1)
