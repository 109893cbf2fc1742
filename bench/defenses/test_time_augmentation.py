"""Test-time augmentation: the model is asked about the image, its flip and its shifts.

Perez et al. 2021, Enhancing Adversarial Robustness via Test-time Transformation Ensembling, arXiv:2107.14110.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.defenses.base import Ask, Rewiring
from bench.defenses.rewiring_parameters import TestTimeAugmentationParams
from bench.models.noise import Noise


class TestTimeAugmentation(Rewiring):
    """Mean or majority over the image, its horizontal flip and its shifts along both axes; nothing in it is random.

    A vote has no gradient; both modes are attacked through the mean, which in mode ``mean`` is the defense itself.
    """

    __test__: ClassVar[bool] = False  # not a test, whatever pytest thinks of the name
    differentiable: ClassVar[bool] = False
    attacked_by_surrogate: ClassVar[bool] = True
    params: TestTimeAugmentationParams

    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Log of the mean probabilities, or votes plus the mean probabilities that decide ties, shape (N, K)."""
        if self.params.mode == "mean":
            return self.surrogate_logits(ask, x, noise)
        logits = self._asked(ask, x)
        votes = F.one_hot(logits.argmax(2), logits.shape[2]).sum(0)
        return votes + logits.softmax(2).mean(0)

    def surrogate_logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Log of the mean probabilities, shape (N, K)."""
        logits = self._asked(ask, x)
        return logits.log_softmax(2).logsumexp(0) - math.log(len(logits))

    def _asked(self, ask: Ask, x: Tensor) -> Tensor:
        """Logits of every view, shape (V, N, K)."""
        views = [x]
        if self.params.flip:
            views.append(x.flip(3))
        if self.params.shift:
            views += _shifted(x, self.params.shift)
        return torch.stack([ask(view) for view in views])


def _shifted(x: Tensor, by: int) -> list[Tensor]:
    """The images shifted right, left, down and up; the border's pixels are repeated."""
    height, width = x.shape[2:]
    wide = F.pad(x, (by, by, 0, 0), mode="replicate")
    high = F.pad(x, (0, 0, by, by), mode="replicate")
    return [wide[..., :width], wide[..., 2 * by :], high[..., :height, :], high[..., 2 * by :, :]]
