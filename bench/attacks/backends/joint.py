"""The model behind a detector as a library gets to see it: K logits, whose largest is the label's wherever it rejects."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.attacks.backends.owners import owners_of
from bench.attacks.base import Samples, Target
from bench.attacks.losses import answers, pursued
from bench.models.straight_through import through


def joint_model(target: Target, samples: Samples) -> Any:  # Any: a library only calls it
    """What a library attacks: the model itself unless it rejects.

    Args:
        target: the model under attack.
        samples: all that the library is given; whose image a row of a pass is, says whose label the rejection counts for.
    """
    return JointModel(target, samples) if target.rejects else target


class JointModel(nn.Module):
    """A model that rejects, in the form of a classifier: a rejected point is one that is classified right.

    So a library's own notion of success is the judge's, and decisions and scores say whether the detector accepts
    (:func:`bench.attacks.losses.answers`). The gradient is the one that our own attacks follow, of the classifier first and of
    the detector once another class wins (:func:`bench.attacks.losses.pursued`).

    Args:
        target: the model under attack.
        samples: what is attacked.

    Attributes:
        num_classes: K.
        stochastic: whether two passes on one image may differ.
    """

    def __init__(self, target: Target, samples: Samples) -> None:
        super().__init__()
        self.target = target
        self.num_classes, self.stochastic = target.num_classes, target.stochastic
        self._samples = samples
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (B, K), for images of shape (B, C, H, W)."""
        logits, classes = self.target(x), self.num_classes
        y = self._samples.y[owners_of(x.detach(), self._samples.x)]
        shown = answers(bounded(logits, classes), y, classes)
        return through(shown, pursued(logits, y, classes))


def bounded(logits: Tensor, num_classes: int) -> Tensor:
    """Logits whose rejection lies above the largest class by their standard deviation, and by 10, at the most.

    A detector's score has no bound. Beside it the cross-entropy, which most libraries climb, would be exactly zero, and so
    would be whatever gradient is multiplied by its slope.

    Args:
        logits: shape (N, K + 1), the last column the rejection.
        num_classes: K.

    Returns:
        Shape (N, K + 1).
    """
    classes, rejection = logits[:, :num_classes], logits[:, num_classes:]
    most = classes.amax(1, keepdim=True) + classes.std(1, keepdim=True).clamp_max(_MOST)
    return torch.cat([classes, torch.minimum(rejection, most)], dim=1)


_MOST = 10.0
"""Above log(2 ** 24), about 16.6, a softmax of float32 is exactly 1; at 10 its distance from 1 is known to a thousandth."""
