"""Additive Gaussian noise.

The input layer of Liu et al. 2018, Towards Robust Neural Networks via Random Self-ensemble, arXiv:1712.00673, without the
noise-aware training and the ensemble.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from bench.defenses.base import RandomPurifier
from bench.defenses.parameters import RandomNoiseParams
from bench.models.noise import MOST_DRAWS, Noise


class RandomNoise(RandomPurifier):
    """Adds fresh Gaussian noise to every pixel and clamps to [0, 1]; exact gradient."""

    differentiable: ClassVar[bool] = True
    params: RandomNoiseParams

    def purified(self, x: Tensor, noise: Noise) -> Tensor:
        """The noisy images, shape (N, C, H, W)."""
        count, most = math.prod(x.shape[1:]), MOST_DRAWS - 1
        draws = [noise.normal(min(most, count - start)) for start in range(0, count, most)]
        return (x + self.params.std * torch.cat(draws, 1).view(x.shape).to(x)).clamp(0, 1)
