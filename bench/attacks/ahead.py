"""Several points of a sample in one pass: the next ones that follow if none of them is an improvement.

A random search mostly fails, and what it tries after a failure is known beforehand. On a device that takes a full batch as
fast as a part of one, points are evaluated ahead; the first improvement of each sample counts, and what came after it is
thrown away. The search is the same as one point at a time, in far fewer passes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attacks.batch import Batch, Seen

START = 512
"""Rows that a pass could have had in the time in which it is started."""
OFTEN = 8
"""Passes between two questions to the device how the search goes."""
HOPE = 0.3
"""Share of improvements that is expected before one is known."""


class Ahead:
    """How many points are tried in a pass, and which one of each sample counts.

    Args:
        most: the most rows of a pass.
        end: the iteration of the last point of a run.
    """

    def __init__(self, most: int, end: int) -> None:
        self.most, self.end = most, end
        self.rate = HOPE
        self._passes = 0
        self._improved: Tensor | None = None
        self._tried: Tensor | None = None

    def count(self, rows: int) -> int:
        """Points a pass for each of some samples, at least 1: as many as bring the search on fastest.

        Args:
            rows: samples in the batch.
        """
        most = max(1, min(self.most // rows, self.end))
        gain = [(1 - (1 - self.rate) ** count) / (START + count * rows) for count in range(1, most + 1)]
        return 1 + max(range(most), key=gain.__getitem__)

    def rows(self, batch: Batch, count: int) -> Tensor:
        """Which rows the points after the next have, a point of all samples after the other, shape ((count - 1) * B,)."""
        return torch.arange(len(batch), device=batch.place.device).repeat(count - 1)

    def chosen(self, points: Batch, improved: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The row of the point that counts, and how many came before it, both of shape (B,), int64.

        Args:
            points: ``count`` points of B samples.
            improved: which are better than the best before the pass, shape (count * B,), bool.
            count: points of each sample.
        """
        rows = len(points) // count
        there = points.iteration.view(count, rows) <= self.end
        improved = improved.view(count, rows) & there
        before = torch.where(improved.any(0), improved.int().argmax(0), there.sum(0) - 1)
        self._note(improved.any(0).sum(), (before + 1).sum())
        return before * rows + torch.arange(rows, device=before.device), before

    def look(self, batch: Batch) -> None:
        """Asks the device, now and then, how often points are improvements and how far the samples are."""
        self._passes += 1
        if self._passes % OFTEN or self._improved is None or self._tried is None or not len(batch):
            return
        ends = torch.aminmax(batch.iteration)
        improved, tried, youngest, oldest = torch.stack([self._improved, self._tried, ends.min, ends.max]).tolist()
        self.rate = min(max(improved / max(tried, 1), 1e-3), 1.0)
        batch.youngest, batch.oldest = youngest, oldest
        self._improved = self._tried = None

    def _note(self, improved: Tensor, tried: Tensor) -> None:
        self._improved = improved if self._improved is None else self._improved + improved
        self._tried = tried if self._tried is None else self._tried + tried


def better(points: Batch, seen: Seen) -> Tensor:
    """Which points have a higher loss than the best so far, or are adversarial, shape (B,), bool."""
    return (seen.loss > points.state["best_loss"]) | (seen.margin > 0)
