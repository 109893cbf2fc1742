"""Logits divided by a small temperature: a defense that is known to be none.

It saturates the softmax, so that the gradient of the cross-entropy vanishes in float32, as defensive distillation does;
the classes stay what they were. Carlini & Wagner 2016, Defensive Distillation is Not Robust to Adversarial Examples,
arXiv:1607.04311.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from bench.defenses.base import Ask, Rewiring
from bench.defenses.rewiring_parameters import LogitTemperatureParams
from bench.models.noise import Noise


class LogitTemperature(Rewiring):
    """Divides the logits; attacked through the logits as they were, whose order is the same."""

    differentiable: ClassVar[bool] = False
    attacked_by_surrogate: ClassVar[bool] = True
    params: LogitTemperatureParams

    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """The divided logits, shape (N, K)."""
        return ask(x) / self.params.temperature
