"""Adversarial weight perturbation.

Wu et al. 2020, Adversarial Weight Perturbation Helps Robust Generalization, arXiv:2004.05884.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.training.method import Step, TrainingMethod
from bench.training.method_parameters import AWPParams

_LEAST = 1e-20
"""As in the paper's code: a layer without a gradient isn't moved."""


class AWP:
    """Takes the loss of any training method where the weights are moved to make it higher.

    Each layer's weights w become w + gamma |w| g / |g|, with g the gradient of the method's loss (the paper's code makes
    one step of SGD on a copy of the network and rescales it, which is the same). Biases and the parameters of
    normalisation, which have one dimension, stay.
    """

    def __init__(self, params: AWPParams) -> None:
        self.params = params

    @contextmanager
    def perturbed(
        self, model: nn.Module, method: TrainingMethod, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step
    ) -> Iterator[None]:
        """Inside, the weights are moved; afterwards they are the old ones, bit for bit. Gradients are left as they are.

        Before ``warmup`` epochs nothing is moved.

        Args:
            model: in training mode; its statistics of batch norm don't see the pass that is made here.
            method: whose loss is ascended.
            x: augmented images in [0, 1], shape (N, C, H, W).
            x_adv: what ``method.examples`` gave, the same shape.
            y: labels, shape (N,), int64.
            step: where in the training.
        """
        if step.epochs_done < self.params.warmup:
            yield
            return
        layers = [parameter for parameter in model.parameters() if parameter.dim() > 1 and parameter.requires_grad]
        gradients = _gradients(model, layers, method, x, x_adv, y, step)
        with torch.no_grad():
            weights = [layer.clone() for layer in layers]
            for layer, gradient in zip(layers, gradients, strict=True):
                if gradient is not None:
                    layer.add_(gradient * (layer.norm() / (gradient.norm() + _LEAST)), alpha=self.params.gamma)
        torch.clear_autocast_cache()  # it holds the weights of before in bfloat16
        try:
            yield
        finally:
            with torch.no_grad():
                for layer, weight in zip(layers, weights, strict=True):
                    layer.copy_(weight)
            torch.clear_autocast_cache()


def _gradients(
    model: nn.Module,
    layers: list[nn.Parameter],
    method: TrainingMethod,
    x: Tensor,
    x_adv: Tensor,
    y: Tensor,
    step: Step,
) -> tuple[Tensor | None, ...]:
    """Of the method's loss by each layer's weights; buffers such as batch norm's statistics are put back."""
    buffers = [buffer.clone() for buffer in model.buffers()]
    loss = method.loss(model, x, x_adv, y, step=step).loss
    gradients = torch.autograd.grad(loss, layers, allow_unused=True)
    with torch.no_grad():
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return gradients
