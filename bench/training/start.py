"""Random starts of training attacks, a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.threat_models.base import ThreatModel
from bench.training.draws import BatchDraws


def random_start(threat_model: ThreatModel, x: Tensor, draws: BatchDraws) -> Tensor:
    """A random point of the threat model for each image, uniform in the ball and then cut with the bounds.

    Args:
        threat_model: an Linf or L2 ball.
        x: clean images, shape (N, C, H, W).
        draws: of these N images.

    Raises:
        ValueError: for another norm.
    """
    if threat_model.norm == "linf":
        delta = (2 * draws.uniform(*x.shape[1:]) - 1) * threat_model.radius
    elif threat_model.norm == "l2":
        direction = draws.normal(*x.shape[1:])
        length = torch.linalg.vector_norm(direction.flatten(1), dim=1).clamp_min(1e-12)
        radius = threat_model.radius * draws.uniform() ** (1 / x[0].numel())
        delta = direction * (radius / length).view(-1, 1, 1, 1)
    else:
        raise ValueError(f"no random start of a training attack under {threat_model.norm}")
    return threat_model.project(x + delta, x)
