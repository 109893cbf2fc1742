"""TRADES.

Zhang et al. 2019, Theoretically Principled Trade-off between Robustness and Accuracy, arXiv:1901.08573.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import threat_models
from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import TRADESParams
from bench.training.pgd import climb, step_size

START_STD = 0.001
"""Gaussian noise before the first step, as in the paper's code: at the clean image the divergence has no gradient."""


class TRADES(TrainingMethod):
    """Minimises the cross-entropy on clean images plus beta times how far the prediction moves within the ball.

    The second term is the divergence KL(p(x) || p(x_adv)), with gradients through both; ``x_adv`` maximises it, with
    the model in evaluation mode.
    """

    def __init__(self, params: TRADESParams) -> None:
        self.params = params
        self._alpha = step_size(params.alpha, params.eps, params.steps)

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """The points of the ball where the prediction differs most from the clean image's."""
        model.eval()
        with torch.no_grad():
            clean = model(x).float().log_softmax(1)
        x_adv = climb(
            x + START_STD * step.draws.normal(*x.shape[1:]),
            x,
            lambda at: kl(clean, model(at).float().log_softmax(1)).sum(),
            threat_model=threat_models.build(self.params.norm, self.params.eps * Fraction(step.strength)),
            steps=self.params.steps,
            alpha=self._alpha * step.strength,
        )
        model.train()
        return x_adv

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The paper's loss; the logits are those of the adversarial examples."""
        clean, adversarial = model(x).float(), model(x_adv).float()
        natural = F.cross_entropy(clean, y, label_smoothing=step.label_smoothing)
        moved = kl(clean.log_softmax(1), adversarial.log_softmax(1)).mean()
        return Outcome(natural + self.params.beta * moved, adversarial)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The divergence KL(p || q) of each image in nats, shape (N,).

    Args:
        log_p: log-probabilities, shape (N, K).
        log_q: the same shape.
    """
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
