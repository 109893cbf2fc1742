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


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """The difference of logits ratio of Croce & Hein 2020 (arXiv:2003.01690), which no scaling of the logits changes.

    ``-(z_y - max of the others) / (z_1 - z_3)`` with the logits sorted from the largest; with two classes, where there is
    no third, the margin itself.

    Args:
        logits: shape (N, K), K at least 2.
        y: labels, shape (N,).

    Returns:
        Losses, shape (N,): above 0 where the sample is misclassified.
    """
    if logits.shape[1] < 3:
        return margin(logits, y)
    largest = logits.topk(3, dim=1).values
    return margin(logits, y) / (largest[:, 0] - largest[:, 2] + _TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The targeted DLR loss: ``-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2)``.

    With three classes the denominator is ``z_1 - z_3``, with two there is none: the paper's loss needs four.

    Args:
        logits: shape (N, K), K at least 2.
        y: labels, shape (N,).
        target: the class to reach, shape (N,).

    Returns:
        Losses, shape (N,): above 0 where the target's logit is above the label's.
    """
    difference = target_margin(logits, y, target)
    if logits.shape[1] < 3:
        return difference
    largest = logits.topk(min(4, logits.shape[1]), dim=1).values
    return difference / (largest[:, 0] - largest[:, 2:].mean(1) + _TINY)


def target_margin(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The target's logit minus the label's, shape (N,)."""
    return (logits.gather(1, target[:, None]) - logits.gather(1, y[:, None])).squeeze(1)


def answers(logits: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """The logits that count for an attacker: being rejected is as bad as being classified right.

    The column of a detector is folded into the label's, so that a sample is misclassified exactly where another class
    beats both (Carlini & Wagner 2017, arXiv:1705.07263).

    Args:
        logits: shape (N, K), or (N, K + 1) where the last column is the rejection.
        y: labels, shape (N,).
        num_classes: K.

    Returns:
        Shape (N, K).
    """
    if logits.shape[1] == num_classes:
        return logits
    classes, rejection = logits[:, :num_classes], logits[:, num_classes:].amax(1, keepdim=True)
    label = torch.maximum(classes.gather(1, y[:, None]), rejection)
    return classes.scatter(1, y[:, None], label)


def pursued(logits: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """The logits that a loss is taken of, so that it attacks classifier and detector one after the other.

    As long as the label wins, they are the classifier's: whoever minds the detector first turns back before the boundary,
    where most detectors reject most. Once another class wins, the label's place is taken by the rejection, moved down so
    that no such point has a lower loss than one on the boundary, and cut off where a loss would saturate (selective
    attack: Bryniarski et al. 2021, Evading Adversarial Example Detection Defenses with Orthogonal Projected Gradient
    Descent, arXiv:2106.15023).

    Args:
        logits: shape (N, K), or (N, K + 1) where the last column is the rejection.
        y: labels, shape (N,).
        num_classes: K.

    Returns:
        Shape (N, K).
    """
    if logits.shape[1] == num_classes:
        return logits
    classes = logits[:, :num_classes]
    top, label = classes.amax(1, keepdim=True), classes.gather(1, y[:, None])
    above = logits[:, num_classes:].amax(1, keepdim=True) - top
    most = classes.detach().std(1, keepdim=True)
    rejection = top.detach() - most + above - (above - most).detach().clamp_min(0)
    fooled = margin(classes.detach(), y)[:, None] > 0
    return classes.scatter(1, y[:, None], torch.where(fooled, rejection, label))


_TINY = 1e-12
LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}
