"""An ensemble: the bare model and others answer together.

Strauss et al. 2017, Ensemble Methods as a Defense to Adversarial Perturbations Against Deep Neural Networks,
arXiv:1709.03423. He et al. 2017, Adversarial Example Defenses: Ensembles of Weak Defenses are not Strong, arXiv:1706.04701,
broke ensembles by attacking all members at once, as the adaptive adversary does here.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.defenses.base import Ask, Rewiring
from bench.defenses.rewiring_parameters import EnsembleParams
from bench.errors import BenchError
from bench.models.noise import Noise


class Ensemble(Rewiring):
    """Mean or majority over the model behind the defense and the members; nothing in it is random.

    A vote has no gradient, and is attacked through the mean of the probabilities. The means are attacked through
    themselves: there the surrogate is the defense, and its gradient exact.
    """

    differentiable: ClassVar[bool] = False
    attacked_by_surrogate: ClassVar[bool] = True
    needs_models: ClassVar[bool] = True
    params: EnsembleParams

    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Mean logits, log of the mean probabilities, or votes plus the mean probabilities that decide ties, shape (N, K)."""
        if self.params.combine != "vote":
            return self.surrogate_logits(ask, x, noise)
        logits = self._asked(ask, x)
        votes = F.one_hot(logits.argmax(2), logits.shape[2]).sum(0)
        return votes + logits.softmax(2).mean(0)

    def surrogate_logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Mean logits, or the log of the mean probabilities, shape (N, K)."""
        logits = self._asked(ask, x)
        if self.params.combine == "mean_logits":
            return logits.mean(0)
        return logits.log_softmax(2).logsumexp(0) - math.log(len(logits))

    def _asked(self, ask: Ask, x: Tensor) -> Tensor:
        """Logits of the model behind the defense and of every member, shape (1 + members, N, K)."""
        if not self.models:
            raise BenchError("ensemble: its members haven't been loaded: call bind first")
        return torch.stack([ask(x), *(member(x) for member in self.models)])
