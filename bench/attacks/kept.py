"""What a search knows of its samples: the best point of each, and what was seen on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attacks.batch import Batch, Seen, on_cpu, per_image


class Kept:
    """A row for each sample, and for each lane of it; all on the images' device.

    Args:
        x: the clean images, shape (N, C, H, W).
        random: whether the model is stochastic.

    Attributes:
        best: the best points so far, shape (N, C, H, W).
        score: of the best point: its loss or margin, or how close it is where the attack minimises that; -inf without one.
        margin: the highest so far.
        broken: whether a verified point inside eps is adversarial.
        sure: of the last success of a stochastic model: whether every draw that verified it was misclassified.
        settled: whether the search may end with what it has.
        moved: whether a gradient was ever other than zero.
        agreement: of a stochastic model's first gradient: the cosine similarity of two halves of its draws; NaN until known.
        scale: the first margin's size, which tells what is close.
        error: how far the margin of a claim was from what it is.
        steps: of the search, int64.
        forwards: passes, int64.
        backwards: gradients, int64.
        guessed: forward passes of points that turned out to come after an improvement, int64.
    """

    def __init__(self, x: Tensor, *, random: bool) -> None:
        n, device = len(x), x.device
        self.best = x.clone()
        self.score = torch.full((n,), -torch.inf, device=device)
        self.margin = torch.full((n,), -torch.inf, device=device)
        self.broken = torch.zeros(n, dtype=torch.bool, device=device)
        self.sure = torch.ones(n, dtype=torch.bool, device=device)
        self.settled = torch.zeros(n, dtype=torch.bool, device=device)
        self.moved = torch.zeros(n, dtype=torch.bool, device=device)
        self.agreement = torch.full((n,), torch.nan, device=device) if random else None
        self.scale = torch.ones(n, device=device)
        self.error = torch.zeros(n, device=device)
        self.steps, self.forwards, self.backwards, self.guessed = torch.zeros(4, n, dtype=torch.int64, device=device)

    def take(self, better: Tensor, place: Tensor, x: Tensor, score: Tensor) -> None:
        """Better points take the places of those before them.

        Args:
            better: which of the points are, bool, shape (B,).
            place: rows of the samples, int64, shape (B,).
            x: the points, shape (B, C, H, W).
            score: theirs, shape (B,).
        """
        if not on_cpu(better):
            self.best[place] = torch.where(per_image(better), x.to(self.best.dtype), self.best[place])
            self.score[place] = torch.where(better, score.to(self.score.dtype), self.score[place])
            return
        rows = better.nonzero().flatten()
        if len(rows):
            chosen = place[rows]
            self.best[chosen] = x[rows]
            self.score[chosen] = score[rows].to(self.score.dtype)

    def note_gradients(self, batch: Batch, seen: Seen) -> None:
        """Notes which samples have got a gradient other than zero."""
        if not on_cpu(self.moved):
            largest = torch.stack([gradient.flatten(1).abs().amax(1) for gradient in seen.gradients]).amax(0)
            self.moved[batch.place] = self.moved[batch.place] | (largest > 0)
            return
        still = (~self.moved[batch.place]).nonzero().flatten()
        if len(still):
            moves = torch.zeros(len(still), dtype=torch.bool, device=still.device)
            for gradient in seen.gradients:
                moves |= gradient[still].flatten(1).abs().amax(1) > 0
            self.moved[batch.place[still[moves]]] = True

    def note_agreement(self, batch: Batch, drawn: list[Seen]) -> None:
        """Notes how much two halves of the draws agree on the first gradient of a sample.

        Args:
            batch: of a stochastic model.
            drawn: what each draw showed.
        """
        assert self.agreement is not None
        fresh = (torch.isnan(self.agreement[batch.place]) & (batch.iteration == 0)).nonzero().flatten()
        half = len(drawn) // 2
        if half and len(fresh):
            one, other = (
                torch.stack([part.gradients[0][fresh].flatten(1) for part in parts]).mean(0)
                for parts in (drawn[:half], drawn[half : 2 * half])
            )
            self.agreement[batch.place[fresh]] = torch.nn.functional.cosine_similarity(one, other)
