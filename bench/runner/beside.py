"""What a defended cell is compared with: the bare model on the same points, and the images before and after purification."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch
from torch import Tensor

from bench.runner.image_quality import image_quality
from bench.runner.judge import predict
from bench.runner.worker import Worker
from bench.suites.cells import Cell


class Beside(NamedTuple):
    """The comparison of one shard."""

    columns: dict[str, Tensor]
    """of :class:`bench.store.records.SampleRecord`, shape (N,) each"""
    seconds: float | None
    """that purifying all points took; ``None`` without a purifier"""
    purified: Tensor | None = None
    """what the purifiers made of the judged points in one draw, shape (N, C, H, W); ``None`` without a purifier"""


def beside_the_bare(
    worker: Worker, cell: Cell, members: tuple[int, ...], x: Tensor, y: Tensor, x_adv: Tensor
) -> Beside:
    """The comparison; empty for the bare model.

    Args:
        worker: holds the models.
        cell: the cell.
        members: places of its samples in the dataset's selection.
        x: clean images, shape (N, C, H, W).
        y: labels, shape (N,).
        x_adv: the judged points.
    """
    if cell.defense.name == "none":
        return Beside({}, None)
    bare, target = worker.bare(cell), worker.target(cell)
    columns = {
        "bare_prediction": worker.clean_bare(cell, members, x, y).predicted,
        "bare_adversarial_prediction": predict(bare, x_adv, y, worker.batch_size).predicted,
    }
    if not target.purifies:
        return Beside(columns, None)
    scoring = worker.scoring(cell, tuple(worker.dataset.sample_ids[index] for index in members))
    started, parts = time.perf_counter(), []
    for rows in torch.split(torch.arange(len(x), device=x.device), worker.batch_size):
        keys = torch.zeros_like(rows) if scoring is None else scoring.keys[rows]
        with target.drawing(keys):
            parts.append(target.purified(x_adv[rows]))
    purified = torch.cat(parts)
    seconds = time.perf_counter() - started
    before, after = image_quality(x, x_adv), image_quality(x, purified)
    quality = {
        **{name: getattr(before, name) for name in ("psnr", "ssim", "lpips")},
        **{f"{name}_purified": getattr(after, name) for name in ("psnr", "ssim", "lpips")},
    }
    return Beside({**columns, **{name: value.cpu() for name, value in quality.items()}}, seconds, purified)
