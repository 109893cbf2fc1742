"""The runs of a sample side by side: restarts and targets share passes, where a device takes a full batch as fast as a part.

Every run of a sample is a lane, with rows of its own in all that a search keeps. Lanes don't know each other, except that
the first success of a sample ends all of its lanes; so whether a sample is broken doesn't depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_BYTES = 2**29
"""The images of all lanes take at most that much."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """How the rows of a search stand for samples and runs: row ``run * samples + place``, or ``place`` in one lane.

    Attributes:
        samples: N.
        lanes: rows of each sample; 1 where its runs come one after the other.
        runs: of each sample.
    """

    samples: int
    lanes: int
    runs: int

    @classmethod
    def of(cls, x: Tensor, runs: int, *, abreast: bool) -> Lanes:
        """The lanes of a search.

        Args:
            x: clean images, shape (N, C, H, W).
            runs: of each sample.
            abreast: whether they may be side by side; images that take too much memory never are.
        """
        return cls(len(x), runs if abreast and x.nbytes * runs <= MOST_BYTES else 1, runs)

    def rows(self, device: torch.device) -> Tensor:
        """The sample of each row, shape (rows,), int64."""
        return torch.arange(self.samples, device=device).repeat(self.lanes)

    def first_run(self, device: torch.device) -> Tensor:
        """With which run each row starts, shape (rows,), int64."""
        return torch.arange(self.lanes, device=device).repeat_interleave(self.samples)

    def over(self, run: Tensor) -> Tensor:
        """Whether a run is the last one of its row.

        Args:
            run: shape (B,), int64.
        """
        return torch.ones_like(run, dtype=torch.bool) if self.lanes > 1 else run + 1 >= self.runs

    def any(self, mask: Tensor) -> Tensor:
        """Whether it is true in a lane of each sample, shape (N,).

        Args:
            mask: shape (rows,), bool.
        """
        return mask if self.lanes == 1 else mask.view(self.lanes, -1).any(0)

    def shared(self, mask: Tensor) -> Tensor:
        """The same for every lane, shape (rows,).

        Args:
            mask: shape (rows,), bool.
        """
        return mask if self.lanes == 1 else self.any(mask).repeat(self.lanes)

    def sum(self, values: Tensor) -> Tensor:
        """Over the lanes of each sample, shape (N,).

        Args:
            values: shape (rows,).
        """
        return values if self.lanes == 1 else values.view(self.lanes, -1).sum(0)

    def best(self, broken: Tensor, score: Tensor, *, last: bool) -> Tensor:
        """The row that a sample's point is taken from, shape (N,), int64: of broken ones if there are, by score.

        Args:
            broken: shape (rows,), bool.
            score: shape (rows,).
            last: whether it is the last run's where none is broken, as if the runs came one after the other.
        """
        everyone = torch.arange(self.samples, device=score.device)
        if self.lanes == 1:
            return everyone
        broken, score = broken.view(self.lanes, -1), score.view(self.lanes, -1)
        successes = torch.where(broken, score, -torch.inf)
        survivors = torch.full_like(everyone, self.lanes - 1) if last else score.argmax(0)
        return torch.where(broken.any(0), successes.argmax(0), survivors) * self.samples + everyone
