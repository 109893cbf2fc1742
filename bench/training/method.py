"""What a training method offers: the images and the loss of one step."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Step(NamedTuple):
    """Where in the training a step is.

    Attributes:
        epochs_done: epochs before this step, a fraction within one, from 0.
        generator: for the method's own draws, on the CPU.
        label_smoothing: of the recipe, 0 to 1.
    """

    epochs_done: float
    generator: torch.Generator
    label_smoothing: float


class Outcome(NamedTuple):
    """The loss to minimise (a scalar with its graph), and the logits it was made from, shape (N, K).

    ``logits`` is ``None`` where the network gives images.
    """

    loss: Tensor
    logits: Tensor | None


class TrainingMethod(Protocol):
    """A training method; :data:`bench.training.TABLE` names them."""

    def step(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The loss on one batch.

        Args:
            model: in training mode; it is left so.
            x: augmented images in [0, 1], shape (N, C, H, W).
            y: labels, shape (N,), int64.
            step: where in the training.
        """
        ...
