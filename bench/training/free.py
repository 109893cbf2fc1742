"""Free adversarial training.

Shafahi et al. 2019, Adversarial Training for Free!, arXiv:1904.12843.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import threat_models
from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import FreeParams


class Free(TrainingMethod):
    """Trains ``replays`` times on every batch; each backward pass updates the weights and the perturbations alike.

    There is one perturbation for each place in a batch, and it is kept from batch to batch. The model is in training
    mode throughout, as both gradients come from one pass.
    """

    def __init__(self, params: FreeParams) -> None:
        self.params = params
        self.updates = params.replays
        self._alpha = float(params.alpha if params.alpha is not None else params.eps)
        self._delta = torch.zeros(0)
        self._inside = torch.zeros(0, dtype=torch.bool)

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """The images with the perturbations as they are now; they take a gradient."""
        self._make_room(step.draws.batch, x)
        rows = _places(x, step)
        moved = x + self._delta[rows]
        x_adv = moved.clamp(0, 1)
        self._inside[rows] = moved == x_adv
        return x_adv.requires_grad_()

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The cross-entropy on the perturbed images."""
        logits = model(x_adv)
        return Outcome(F.cross_entropy(logits, y, label_smoothing=step.label_smoothing), logits)

    def after_backward(self, x_adv: Tensor, *, step: Step) -> None:
        """One step of the perturbations along the gradient that the update used, back into the ball."""
        assert x_adv.grad is not None
        rows = _places(x_adv, step)
        ball = threat_models.build(self.params.norm, self.params.eps * Fraction(step.strength))
        # What was cut off at black or white doesn't change with the perturbation.
        gradient = x_adv.grad * self._inside[rows]
        self._delta[rows] = ball.project_ball(self._delta[rows] + self._alpha * step.strength * ball.ascend(gradient))

    def state(self) -> dict[str, Tensor]:
        """The perturbations, shape (batch size, C, H, W)."""
        return {"delta": self._delta}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Takes up the perturbations."""
        self._delta = state["delta"]
        self._inside = torch.zeros_like(self._delta, dtype=torch.bool)

    def _make_room(self, batch: int, x: Tensor) -> None:
        """Zeros for places in the batch that haven't been seen, on the images' device."""
        self._delta, self._inside = self._delta.to(x.device), self._inside.to(x.device)
        if len(self._delta) < batch:
            new = torch.zeros(batch - len(self._delta), *x.shape[1:], device=x.device)
            self._delta = torch.cat([self._delta.view(-1, *x.shape[1:]), new])
            self._inside = torch.zeros_like(self._delta, dtype=torch.bool)


def _places(x: Tensor, step: Step) -> slice:
    """The places of these images in their batch."""
    return slice(step.draws.first, step.draws.first + len(x))
