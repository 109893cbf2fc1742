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
    looked at after every epoch; where it falls by more than ``collapse``, or lies further below the accuracy under the
    training's own step than ``gap`` (both at the strength of that moment), the training ends with the weights of the
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
        """Why it is catastrophic overfitting, where it is."""

        def accuracy(x_adv: Tensor) -> float:
            with torch.no_grad():
                return float((model(x_adv).argmax(1) == y).double().mean())

        robust = accuracy(self._pgd(model, x, y, step, 1.0))
        before, self._robust = self._robust, robust
        what = f"catastrophic overfitting: accuracy under PGD-{WATCH_STEPS}"
        if before - robust > self.params.collapse:
            return f"{what} fell from {before:.1%} to {robust:.1%} within an epoch"
        own = self.examples(model, x, y, step=step)
        model.eval()
        trained = accuracy(own)
        robust = robust if step.strength == 1 else accuracy(self._pgd(model, x, y, step, step.strength))
        if trained - robust > self.params.gap:
            return f"{what} is {robust:.1%}, and {trained:.1%} under the one step of the training"
        return None

    def _pgd(self, model: nn.Module, x: Tensor, y: Tensor, step: Step, strength: float) -> Tensor:
        return perturb(
            model,
            x,
            y,
            threat_model=threat_models.build(self.params.norm, self.params.eps * Fraction(strength)),
            steps=WATCH_STEPS,
            alpha=float(self.params.eps) * strength / 4,
            draws=step.draws,
        )
