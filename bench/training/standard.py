"""Standard training: the cross-entropy on clean images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import StandardParams


class Standard(TrainingMethod):
    """Minimises the cross-entropy on clean (augmented) images."""

    def __init__(self, params: StandardParams) -> None:
        self.params = params

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The cross-entropy on the batch."""
        logits = model(x)
        return Outcome(F.cross_entropy(logits, y, label_smoothing=step.label_smoothing), logits)
