"""Adversarial training with one step from a random start.

Wong et al. 2020, Fast is better than free: Revisiting adversarial training, arXiv:2001.03994; without projection it is
N-FGSM: de Jorge et al. 2022, Make Some Noise: Reliable and Efficient Single-Step Adversarial Training, arXiv:2202.01181.
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import threat_models
from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import FGSMParams
from bench.training.pgd import ce_sum, perturb
from bench.training.start import random_start

WATCH_STEPS = 5
"""PGD steps of the check for catastrophic overfitting, of eps / 4 each, as in the paper's code."""


class FGSM(TrainingMethod):
    """Minimises the cross-entropy on the examples of one signed step from a random point of the ball.

    The step sees the model in evaluation mode, as an attacker does.

    A model trained so may learn to mask its gradient from that one step within a few batches (catastrophic
    overfitting): its accuracy under FGSM stays high, and PGD breaks every image. The accuracy under PGD is therefore
    looked at after every epoch; where it falls by more than ``collapse``, the training ends with the weights of the
    epoch before, as the paper's early stopping does.
    """

    def __init__(self, params: FGSMParams) -> None:
        self.params = params
        self._alpha = float(params.alpha if params.alpha is not None else Fraction(5, 4) * params.eps)
        self._robust = 0.0

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """The points after the step; outside the ball where ``project`` is false."""
        share = Fraction(step.strength)
        ball = threat_models.build(self.params.norm, self.params.eps * share)
        noise = threat_models.build(self.params.norm, self.params.eps * share * Fraction(self.params.noise))
        start = random_start(noise, x, step.draws).requires_grad_()
        model.eval()
        (gradient,) = torch.autograd.grad(ce_sum(model(start), y), start)
        model.train()
        x_adv = start.detach() + self._alpha * step.strength * ball.ascend(gradient)
        return ball.project(x_adv, x) if self.params.project else x_adv.clamp(*ball.bounds)

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The cross-entropy on the adversarial examples."""
        logits = model(x_adv)
        return Outcome(F.cross_entropy(logits, y, label_smoothing=step.label_smoothing), logits)

    def state(self) -> dict[str, Tensor]:
        """The last accuracy under PGD."""
        return {"robust": torch.tensor(self._robust, dtype=torch.float64)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Takes up the last accuracy under PGD."""
        self._robust = float(state["robust"])

    def watch(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> str | None:
        """A warning where the accuracy under PGD at the full eps collapses."""
        x_adv = perturb(
            model,
            x,
            y,
            threat_model=threat_models.build(self.params.norm, self.params.eps),
            steps=WATCH_STEPS,
            alpha=float(self.params.eps) / 4,
            draws=step.draws,
        )
        with torch.no_grad():
            robust = float((model(x_adv).argmax(1) == y).double().mean())
        before, self._robust = self._robust, robust
        if before - robust <= self.params.collapse:
            return None
        return (
            f"catastrophic overfitting: accuracy under PGD-{WATCH_STEPS} fell from {before:.1%} to {robust:.1%} within"
            " an epoch"
        )
