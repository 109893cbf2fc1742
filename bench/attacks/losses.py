"""What an attack maximises, per sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each sample.

    Args:
        logits: shape (N, K).
        y: labels, shape (N,).

    Returns:
        Losses, shape (N,).
    """
    return functional.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The best other logit minus the label's: above 0 where the sample is misclassified.

    This is the loss f6 of Carlini & Wagner 2017 (arXiv:1608.04644) without its cut-off.

    Args:
        logits: shape (N, K), K at least 2.
        y: labels, shape (N,).

    Returns:
        Losses, shape (N,).
    """
    label = logits.gather(1, y[:, None]).squeeze(1)
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - label


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin}
