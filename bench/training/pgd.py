"""Adversarial training with projected gradient descent (Madry et al. 2018, arXiv:1706.06083)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import threat_models
from bench.threat_models.base import ThreatModel
from bench.training.draws import BatchDraws
from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import PGDParams
from bench.training.start import random_start


class PGD(TrainingMethod):
    """Minimises the cross-entropy on the examples that PGD finds against the model as it is at that step.

    The attack sees the model in evaluation mode (batch statistics are not updated by it, dropout is off, so that its
    gradient is the one that an attacker has); the weights are then updated in training mode on the examples alone.
    """

    def __init__(self, params: PGDParams) -> None:
        self.params = params
        self._alpha = step_size(params.alpha, params.eps, params.steps)

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """The points that PGD finds."""
        model.eval()
        x_adv = perturb(
            model,
            x,
            y,
            threat_model=threat_models.build(self.params.norm, self.params.eps * Fraction(step.strength)),
            steps=self.params.steps,
            alpha=self._alpha * step.strength,
            draws=step.draws if self.params.random_start else None,
        )
        model.train()
        return x_adv

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The cross-entropy on the adversarial examples."""
        logits = model(x_adv)
        return Outcome(F.cross_entropy(logits, y, label_smoothing=step.label_smoothing), logits)


def step_size(alpha: Fraction | None, eps: Fraction, steps: int) -> float:
    """alpha in [0, 1] units: as given, else such that all steps together reach 2.5 eps."""
    return float(alpha if alpha is not None else Fraction(5, 2) * eps / steps)


def perturb(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    threat_model: ThreatModel,
    steps: int,
    alpha: float,
    draws: BatchDraws | None,
) -> Tensor:
    """The last point of PGD on the cross-entropy, as training uses it: no restarts, no early stop, no verdict.

    Args:
        model: in evaluation mode.
        x: clean images in [0, 1], shape (N, C, H, W).
        y: labels, shape (N,), int64.
        threat_model: the ball.
        steps: gradient steps.
        alpha: step size in [0, 1] units.
        draws: for a random start; ``None`` starts at the clean images.

    Returns:
        Points inside the threat model, shape (N, C, H, W), without a graph.
    """
    start = x if draws is None else random_start(threat_model, x, draws)
    return climb(start, x, lambda at: ce_sum(model(at), y), threat_model=threat_model, steps=steps, alpha=alpha)


def ce_sum(logits: Tensor, y: Tensor) -> Tensor:
    """The cross-entropy, summed over images: each image's gradient doesn't depend on the size of the batch."""
    return F.cross_entropy(logits.float(), y, reduction="sum")


def climb(
    start: Tensor,
    x: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    threat_model: ThreatModel,
    steps: int,
    alpha: float,
) -> Tensor:
    """Steps of steepest ascent from a start, each projected into the threat model.

    Args:
        start: first points, shape (N, C, H, W).
        x: clean images in [0, 1], the same shape.
        objective: a sum over images, of points; what is made as large as possible.
        threat_model: the ball.
        steps: gradient steps.
        alpha: step size in [0, 1] units.

    Returns:
        The last points, the same shape, without a graph.
    """
    x_adv = start
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(x_adv), x_adv)
        x_adv = threat_model.project(x_adv.detach() + alpha * threat_model.ascend(gradient), x)
    return x_adv.detach()
