"""Randomised smoothing: the class that the model gives most often under Gaussian noise, with an L2 certificate.

Cohen et al. 2019, Certified Adversarial Robustness via Randomized Smoothing, arXiv:1902.02918; attacked as in Salman et
al. 2019, Provably Robust Deep Learning via Adversarially Trained Smoothed Classifiers, arXiv:1906.04584.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.defenses import certification
from bench.defenses.base import Ask, Rewiring
from bench.defenses.rewiring_parameters import SmoothingParams
from bench.models.noise import Noise
from bench.stats import FloatArray, IntArray

MOST_IMAGES = 1000
"""Noisy copies of one pass."""
MOST_NUMBERS = 1 << 24
"""Random numbers of one pass: large images go through in smaller passes."""
LEAST_MARGIN = 0.5
"""Between the rejection's column and the largest class: above what float32 rounds away beside the counts."""
LEAST_P = 1e-300
"""Of the test: its logarithm stays finite."""
NO_REJECTION = 100.0
"""How far below the smallest logit the surrogate's rejection lies: an attack never sees it claimed."""


class Certified(NamedTuple):
    """Classes that are certified, and how far.

    Attributes:
        classes: shape (N,), int64; -1 where nothing is certified.
        radii: L2, in the units of the pixels, shape (N,), float64; 0 where nothing is certified.
    """

    classes: Tensor
    radii: Tensor


class Smoothing(Rewiring):
    """Votes over noisy copies; rejects where the first two classes are too close for the test at ``alpha``."""

    differentiable: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    rejects: ClassVar[bool] = True
    attacked_by_surrogate: ClassVar[bool] = True
    verifying_draws: ClassVar[int] = 2
    params: SmoothingParams

    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Votes of ``n`` noisy copies, ties decided by the mean probability, and the rejection in the last column.

        The last column is above all others exactly where PREDICT of the paper abstains. Its distance to the largest vote
        is the logarithm of the test's p-value over alpha.

        Returns:
            Shape (N, K + 1).
        """
        asked = list(self._asked(ask, x, noise, self.params.n))
        picks = torch.cat([logits.argmax(1) for logits in asked]).view(len(x), -1)
        probabilities = torch.cat([logits.softmax(1) for logits in asked]).view(*picks.shape, -1)
        counts = _counted(picks, probabilities.shape[2])
        votes = counts + probabilities.mean(1)
        margin = torch.from_numpy(self._rejection(counts.cpu().numpy())).to(votes)
        return torch.cat([votes, (votes.amax(1) + margin)[:, None]], dim=1)

    def surrogate_logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Log of the mean probabilities of ``attack_draws`` noisy copies, and a last column that is never the largest.

        Returns:
            Shape (N, K + 1).
        """
        draws = self.params.attack_draws
        asked = torch.cat([logits.log_softmax(1) for logits in self._asked(ask, x, noise, draws)])
        logits = asked.view(len(x), draws, -1).logsumexp(1) - math.log(draws)
        return torch.cat([logits, logits.detach().amin(1, keepdim=True) - NO_REJECTION], dim=1)

    def certify(self, ask: Ask, x: Tensor, noise: Noise) -> Certified:
        """Classes and L2 radii within which the smoothed classifier keeps them, wrong with probability ``alpha`` at most.

        Args:
            ask: the model behind the defense.
            x: shape (N, C, H, W), float32 in [0, 1].
            noise: one key for each image; ``n0`` and then ``n_certify`` noisy copies are drawn.
        """
        tallied = []
        with torch.no_grad():
            for draws in (self.params.n0, self.params.n_certify):
                picks, classes = [], 0
                for logits in self._asked(ask, x, noise, draws):
                    picks.append(logits.argmax(1))
                    classes = logits.shape[1]
                tallied.append(_counted(torch.cat(picks).view(len(x), draws), classes).cpu().numpy())
        counts0, counts = tallied
        found = certification.certify(counts0, counts, self.params.sigma, self.params.alpha)
        return Certified(*(torch.from_numpy(array).to(x.device) for array in found))

    def _asked(self, ask: Ask, x: Tensor, noise: Noise, draws: int) -> Iterator[Tensor]:
        """Logits of each image's noisy copies in a row, pass by pass; copies leave [0, 1], as in the paper."""
        keys = noise.repeated(draws).keys
        size = max(1, min(MOST_IMAGES, MOST_NUMBERS // x[0].numel()))
        for start in range(0, len(keys), size):
            some = keys[start : start + size]
            copied = torch.arange(start, start + len(some), device=x.device) // draws
            yield ask(x[copied] + self.params.sigma * Noise(some).normal(*x.shape[1:]).to(x))

    def _rejection(self, counts: IntArray) -> FloatArray:
        """How far the rejection lies above the largest vote, shape (N,): below 0 where the test lets the image pass."""
        alpha = self.params.alpha
        distance = np.abs(np.log(np.maximum(certification.p_values(counts), LEAST_P) / alpha))
        distance = np.maximum(distance, LEAST_MARGIN)
        return np.where(certification.predict(counts, alpha) == certification.ABSTAIN, distance, -distance)


def _counted(picks: Tensor, classes: int) -> Tensor:
    """Votes for each class, shape (N, K), int64, from the picks (N, draws)."""
    counts = torch.zeros(len(picks), classes, dtype=torch.int64, device=picks.device)
    return counts.scatter_add_(1, picks, torch.ones_like(picks))
