"""Training on images with Gaussian noise.

Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing, arXiv:1902.02918, for smoothed classifiers;
Rusak et al. 2020, A Simple Way to Make Neural Networks Robust Against Diverse Image Corruptions, arXiv:2001.06057, for
corruptions, there with half of every batch clean.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bench.training.draws import BatchDraws
from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import NoiseParams, NoisyParams


class Noise(TrainingMethod):
    """Minimises the cross-entropy on images with noise that is drawn anew in every step."""

    def __init__(self, params: NoiseParams) -> None:
        self.params = params

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """The noisy images; beyond [0, 1] where ``clamp`` is false."""
        noisy = x + gaussian(self.params, x, step.draws)
        return noisy.clamp(0, 1) if self.params.clamp else noisy

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The cross-entropy on the noisy images."""
        logits = model(x_adv)
        return Outcome(F.cross_entropy(logits, y, label_smoothing=step.label_smoothing), logits)


def gaussian(params: NoisyParams, x: Tensor, draws: BatchDraws) -> Tensor:
    """Noise of each image's own level, shape (N, C, H, W)."""
    low, high = params.levels
    std = low + (high - low) * draws.uniform(1, 1, 1)
    return std * draws.normal(*x.shape[1:])
