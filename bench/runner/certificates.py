"""Cells that certify: no attack, but a radius for each image within which the defended model provably keeps its answer."""

from __future__ import annotations

from torch import Tensor

from bench.attacks.draws import Draws
from bench.defenses.smoothing import Smoothing
from bench.errors import BenchError
from bench.models.noise import Noise
from bench.runner.worker import Worker
from bench.suites.cells import Cell


def certified(worker: Worker, cell: Cell, x: Tensor, ids: tuple[str, ...]) -> dict[str, Tensor]:
    """Columns of :class:`bench.store.records.SampleRecord`, shape (N,) each.

    Args:
        worker: holds the models.
        cell: a certificate's.
        x: clean images, shape (N, C, H, W).
        ids: their sample ids.

    Raises:
        BenchError: where the defense certifies nothing.
    """
    target = worker.target(cell)
    smoothing = target.stages[0]
    if not isinstance(smoothing, Smoothing):
        raise BenchError(f"the defense {cell.defense_id} certifies nothing: only smoothing before everything else does")
    keys = Draws(cell.seed, "", "certify").keys(ids, restarts=[0] * len(ids), device=x.device)
    classes, radii = smoothing.certify(target.behind_first(), x, Noise(keys))
    return {"certified_prediction": classes.cpu(), "certified_radius": radii.cpu()}


def holds(columns: dict[str, Tensor], y: Tensor, radius: float) -> Tensor:
    """Which images are certified to be right within a radius, shape (N,), bool, on the CPU."""
    return (columns["certified_prediction"] == y.cpu()) & (columns["certified_radius"] >= radius)
