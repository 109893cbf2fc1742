"""Points that no attack of the suite made, judged on a cell's defended model: noise, and examples of other models."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench import threat_models
from bench.attacks.draws import Draws, global_seed
from bench.runner.judge import exact_arithmetic, judge
from bench.runner.worker import Worker
from bench.suites.cells import Cell

NOISE_DRAWS = 20
"""Random points of the ball tried on each image: every other one on its surface."""


def broken_by(worker: Worker, cell: Cell, members: tuple[int, ...], points: Tensor) -> Tensor:
    """Which clean-correct samples a point misclassifies, shape (N,), bool, on the CPU.

    Args:
        worker: holds the dataset and the model.
        cell: says which row is judged, and under which threat model; points outside it break nothing.
        members: places of the N samples.
        points: shape (N, C, H, W).
    """
    ids = tuple(worker.dataset.sample_ids[place] for place in members)
    with exact_arithmetic(), global_seed(Draws(cell.seed, "points", "probe").chunk_seed(ids)):
        target = worker.target(cell)
        batch = worker.dataset.batch(np.asarray(members, dtype=np.int64))
        x, y = batch.x.to(worker.device), batch.y.to(worker.device)
        correct = worker.clean(cell, members, x, y).correct
        with worker.guarded(cell):
            verdict = judge(
                target,
                x,
                y,
                points.to(x),
                threat_model=threat_models.build(cell.threat_model.norm, cell.threat_model.eps),
                minimum_norm=True,
                batch_size=worker.batch_size,
                sample_ids=ids,
                scoring=worker.scoring(cell, ids),
            )
    return correct & verdict.prediction.fooled


def broken_by_noise(worker: Worker, cell: Cell, members: tuple[int, ...]) -> Tensor:
    """Which clean-correct samples any of :data:`NOISE_DRAWS` random points of the ball misclassifies, shape (N,), bool.

    Args:
        worker: holds the dataset and the model.
        cell: says which row is judged, and under which threat model.
        members: places of the N samples.
    """
    ids = [worker.dataset.sample_ids[place] for place in members]
    ball = threat_models.build(cell.threat_model.norm, cell.threat_model.eps)
    x = worker.dataset.batch(np.asarray(members, dtype=np.int64)).x
    broken = torch.zeros(len(ids), dtype=torch.bool)
    draws = Draws(cell.seed, "noise", "probe")
    for draw in range(NOISE_DRAWS):
        generators = draws.generators(ids, restarts=[draw] * len(ids))
        sample = ball.random_direction if draw % 2 else ball.random_delta
        delta = torch.stack([sample(x.shape[1:], generator) for generator in generators])
        broken |= broken_by(worker, cell, members, ball.project(x + delta.to(x), x))
    return broken
