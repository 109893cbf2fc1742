"""MART.

Wang et al. 2020, Improving Adversarial Robustness Requires Revisiting Misclassified Examples, ICLR
(https://openreview.net/forum?id=rklOg6EFwS).
"""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import threat_models
from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import MARTParams
from bench.training.pgd import ce_sum, climb, step_size
from bench.training.trades import START_STD, kl


class MART(TrainingMethod):
    """Minimises the boosted cross-entropy on PGD's examples plus a divergence weighted by how wrong the clean image is.

    The boosted cross-entropy is -log p(y) - log(1 - max over k != y of p(k)). The second term is beta times
    KL(p(x) || p(x_adv)) (1 - p(y | x)). The attack maximises the cross-entropy with the model in evaluation mode.
    """

    def __init__(self, params: MARTParams) -> None:
        self.params = params
        self._alpha = step_size(params.alpha, params.eps, params.steps)

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """PGD's points, from a start beside the clean image as in the paper's code."""
        model.eval()
        x_adv = climb(
            x + START_STD * step.draws.normal(*x.shape[1:]),
            x,
            lambda at: ce_sum(model(at), y),
            threat_model=threat_models.build(self.params.norm, self.params.eps * Fraction(step.strength)),
            steps=self.params.steps,
            alpha=self._alpha * step.strength,
        )
        model.train()
        return x_adv

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The paper's loss; the logits are those of the adversarial examples. Only -log p(y) takes smoothed labels."""
        clean, adversarial = model(x).float(), model(x_adv).float()
        boosted = (
            F.cross_entropy(adversarial, y, label_smoothing=step.label_smoothing) + _nearest(adversarial, y).mean()
        )
        wrong = 1 - clean.softmax(1).gather(1, y[:, None]).squeeze(1)
        moved = kl(clean.log_softmax(1), adversarial.log_softmax(1))
        return Outcome(boosted + self.params.beta * (moved * wrong).mean(), adversarial)


def _nearest(logits: Tensor, y: Tensor) -> Tensor:
    """-log(1 - max over k != y of p(k)) of each image, shape (N,).

    As a difference of logarithms it has its gradient where p(k) rounds to 1, where the paper's code adds 1e-4 instead.
    """
    nearest = logits.detach().scatter(1, y[:, None], -torch.inf).argmax(1, keepdim=True)
    return logits.logsumexp(1) - logits.scatter(1, nearest, -torch.inf).logsumexp(1)
