"""A small head beside the network that tells adversarial features from clean ones.

Metzen et al. 2017, On Detecting Adversarial Perturbations, arXiv:1702.04267; Gong et al. 2017, Adversarial and Clean
Data Are Not Twins, arXiv:1704.04960. Here it sees the penultimate features.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.defenses.base import Ask, Detector, Sight
from bench.defenses.detector_parameters import AuxiliaryHeadParams
from bench.errors import BenchError

_BATCH = 100


class _Head(NamedTuple):
    """One hidden layer on standardised features, float64 on the CPU; ``score`` takes it to where the features are."""

    mean: Tensor
    std: Tensor
    first: Tensor
    first_bias: Tensor
    second: Tensor
    second_bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Log-odds that the features are adversarial, shape (N,)."""
        hidden = ((features - self.mean) / self.std @ self.first + self.first_bias).relu()
        return hidden @ self.second + self.second_bias


class AuxiliaryHead(Detector):
    """The log-odds that a trained head gives an image of being adversarial; exact gradient.

    It is trained on clean calibration images and on examples that :meth:`fit` makes of them with the basic iterative
    method. The training is the same wherever it runs: first weights from the seed, all images at once, float64 on the
    CPU.
    """

    differentiable: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True
    needs_fit: bool = True
    params: AuxiliaryHeadParams

    def __init__(self, params: AuxiliaryHeadParams) -> None:
        super().__init__(params)
        self._head: _Head | None = None

    def fit(self, sight: Sight, y: Tensor) -> None:
        """Makes adversarial examples of the clean images and trains the head to tell them apart."""
        if sight.features is None or sight.look is None:
            raise BenchError("auxiliary_head: needs the network's features")
        adversarial = []
        for x, labels in zip(torch.split(sight.x, _BATCH), torch.split(y.to(sight.x.device), _BATCH), strict=True):
            x_adv = bim(sight.ask, x, labels, eps=self.params.eps, steps=self.params.steps)
            with torch.no_grad():
                adversarial.append(sight.look(x_adv)[1])
        clean = sight.features.detach()
        self._head = _trained(clean.double().cpu(), torch.cat(adversarial).double().cpu(), self.params)

    def score(self, sight: Sight) -> Tensor:
        """The head's log-odds, shape (N,)."""
        if self._head is None or sight.features is None:
            raise BenchError("auxiliary_head: must be fitted to the features of clean images first")
        features = sight.features.double()
        head = _Head(*(value.to(features.device) for value in self._head))
        return head(features).float()


def bim(ask: Ask, x: Tensor, y: Tensor, *, eps: float, steps: int) -> Tensor:
    """The basic iterative method under Linf: Kurakin et al. 2017, Adversarial examples in the physical world,
    arXiv:1607.02533; one step is FGSM.

    The attacks of :mod:`bench.attacks` stand beside the defenses and can't be called from here. Steps of 2.5 eps / steps
    reach the border from anywhere in the ball (Madry et al. 2018, arXiv:1706.06083).

    Args:
        ask: images to logits, with a gradient.
        x: shape (N, C, H, W), in [0, 1].
        y: labels, shape (N,).
        eps: the radius.
        steps: gradients that are taken.
    """
    alpha = eps if steps == 1 else 2.5 * eps / steps
    x_adv = x.detach()
    for _ in range(steps):
        with torch.enable_grad():
            point = x_adv.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(ask(point).float(), y, reduction="sum"), point)
        step: Tensor = alpha * gradient.sign()
        x_adv = torch.clamp(x_adv + step, (x - eps).clamp_min(0), (x + eps).clamp_max(1))
    return x_adv


def _trained(clean: Tensor, adversarial: Tensor, params: AuxiliaryHeadParams) -> _Head:
    """Adam on the cross-entropy of all images at once."""
    generator = torch.Generator().manual_seed(params.seed)

    def start(rows: int, *columns: int) -> Tensor:
        """He et al. 2015, arXiv:1502.01852."""
        drawn = torch.randn(rows, *columns, dtype=torch.float64, generator=generator) * math.sqrt(2 / rows)
        return drawn.requires_grad_()

    def nothing(*shape: int) -> Tensor:
        return torch.zeros(*shape, dtype=torch.float64, requires_grad=True)

    features = torch.cat([clean, adversarial])
    target = torch.cat([torch.zeros(len(clean)), torch.ones(len(adversarial))]).double()
    spread = features.std(0, correction=0)
    std = torch.where(spread > 0, spread, torch.ones_like(spread))
    weights = (start(features.shape[1], params.hidden), nothing(params.hidden), start(params.hidden), nothing(1))
    optimizer = torch.optim.Adam(weights, lr=params.lr)
    with torch.enable_grad():
        head = _Head(features.mean(0), std, *weights)
        for _ in range(params.epochs):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(head(features), target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return _Head(*(value.detach() for value in head))
