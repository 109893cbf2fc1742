"""What the gradients of a row look like to its attacker.

Vanishing, shattered and missing gradients: Athalye et al. 2018, Obfuscated Gradients Give a False Sense of Security,
arXiv:1802.00420; Pintor et al. 2022, Indicators of Attack Failure, arXiv:2106.09947.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import threat_models
from bench.attacks.draws import Draws, global_seed
from bench.attacks.losses import answers, cross_entropy, margin
from bench.runner.judge import exact_arithmetic
from bench.runner.worker import Worker
from bench.store.probes import Gradients
from bench.suites.cells import Cell
from bench.threat_models.base import ThreatModel

TINY = 0.01
"""Length of the tiny noise, and of the step that tries the slope, as a share of eps."""
VANISHING = 1e-3
"""A ball that would change the margin by less than this share of it is out of a gradient attack's reach."""

Loss = Callable[[Tensor, Tensor], Tensor]


def look(worker: Worker, cell: Cell, members: tuple[int, ...]) -> Gradients | None:
    """Gradients on the clean images, on random points of the ball and near them; ``None`` where no sample is correct.

    Args:
        worker: holds the dataset and the model.
        cell: says whose eyes, and under which threat model.
        members: places of the samples.
    """
    ids = tuple(worker.dataset.sample_ids[place] for place in members)
    with exact_arithmetic(), global_seed(Draws(cell.seed, "gradients", "probe").chunk_seed(ids)):
        batch = worker.dataset.batch(np.asarray(members, dtype=np.int64))
        x, y = batch.x.to(worker.device), batch.y.to(worker.device)
        chosen = worker.clean(cell, members, x, y).correct.nonzero().flatten().tolist()
        if not chosen:
            return None
        x, y, ids = x[chosen], y[chosen], tuple(ids[row] for row in chosen)
        ball = threat_models.build(cell.threat_model.norm, cell.threat_model.eps)
        draws = Draws(cell.seed, "gradients", "probe")
        view = _View(worker, worker.attacked(cell), y, draws.keys(ids, restarts=[0] * len(ids), device=x.device))
        with worker.guarded(cell):
            point = ball.random_start(x, draws.generators(ids))
            return _measured(view, ball, x, point, draws, ids)


class _View:
    """The target as its attacker sees it: values and gradients, of a stochastic one always in the same draw."""

    def __init__(
        self, worker: Worker, target: Any, y: Tensor, keys: Tensor
    ) -> None:  # Any: a counted or defended model
        self._size, self._target, self._y, self._keys = worker.batch_size, target, y, keys
        self.exact = not (target.approximate or target.stochastic)

    def __call__(self, points: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
        """Losses, shape (N,), and gradients, shape (N, C, H, W): NaN where there are none."""
        values, gradients = [], []
        for start in range(0, len(points), self._size):
            rows = slice(start, start + self._size)
            here = points[rows].detach().clone().requires_grad_(True)
            with torch.enable_grad(), self._target.drawing(self._keys[rows]):
                logits = answers(self._target(here).float(), self._y[rows], self._target.num_classes)
                each = loss(logits, self._y[rows])
            slope = None
            if each.requires_grad:
                (slope,) = torch.autograd.grad(each.sum(), here, allow_unused=True)
            gradients.append(torch.full_like(here, math.nan) if slope is None else slope.detach())
            values.append(each.detach())
        return torch.cat(values), torch.cat(gradients)


def _measured(
    view: _View, ball: ThreatModel, x: Tensor, point: Tensor, draws: Draws, ids: tuple[str, ...]
) -> Gradients:
    clean, at_clean = view(x, margin)
    there, at_point = view(point, margin)
    _, of_loss = view(x, cross_entropy)
    missing = ~(_finite(at_clean) & _finite(at_point))
    zero = ~missing & _still(at_clean) & _still(at_point)
    zero_loss = ~missing & ~zero & _still(of_loss)
    reach = ball.radius * torch.maximum(_dual(at_clean, ball.norm), _dual(at_point, ball.norm))
    vanishing = ~missing & ~zero & (reach < VANISHING * clean.abs())
    cosine: float | None = None
    error: float | None = None
    moving = ~missing & ~_still(at_point)
    if moving.any():
        cosine = _under_noise(view, ball, point, at_point, moving, draws, ids)
        error = _of_slope(view, ball, point, there, at_point, moving) if view.exact else None
    n = len(x)
    return Gradients(
        samples=n,
        missing=int(missing.sum()) / n,
        zero=int(zero.sum()) / n,
        zero_loss=int(zero_loss.sum()) / n,
        vanishing=int(vanishing.sum()) / n,
        noise_cosine=cosine,
        slope_error=error,
    )


def _under_noise(
    view: _View, ball: ThreatModel, point: Tensor, gradient: Tensor, rows: Tensor, draws: Draws, ids: tuple[str, ...]
) -> float | None:
    """Median cosine between the gradients of neighbours."""
    generators = draws.generators(ids, restarts=[1] * len(ids))
    noise = torch.stack([ball.random_direction(point.shape[1:], one) for one in generators]).to(point)
    _, near = view((point + TINY * noise).clamp(*ball.bounds), margin)
    both = rows & _finite(near)
    if not both.any():
        return None
    cosines = torch.nn.functional.cosine_similarity(gradient[both].flatten(1), near[both].flatten(1), dim=1)
    return float(cosines.median())


def _of_slope(
    view: _View, ball: ThreatModel, point: Tensor, value: Tensor, gradient: Tensor, rows: Tensor
) -> float | None:
    """Median relative error of what the gradient says of a tiny step along itself."""
    after = (point + TINY * ball.radius * ball.ascend(gradient)).clamp(*ball.bounds)
    step = after - point
    expected = (gradient * step).flatten(1).sum(1)
    seen = view(after, margin)[0] - value
    known = rows & (expected.abs() > 1e-5 * value.abs().clamp_min(1.0))  # else float32 hides the difference
    if not known.any():
        return None
    return float(((seen - expected).abs() / expected.abs())[known].median())


def _dual(gradient: Tensor, norm: str) -> Tensor:
    """How much a unit step of the norm changes a linear function at most, shape (N,)."""
    flat = gradient.flatten(1)
    if norm == "linf":
        return flat.abs().sum(1)
    return flat.norm(dim=1) if norm == "l2" else flat.abs().amax(1)


def _finite(gradient: Tensor) -> Tensor:
    return torch.isfinite(gradient.flatten(1)).all(1)


def _still(gradient: Tensor) -> Tensor:
    return (gradient.flatten(1) == 0).all(1)
