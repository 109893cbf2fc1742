"""The model as a library's attack gets to ask it: averaged over draws, as probabilities, its answers remembered."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from bench.attacks.backends.owners import owners_of
from bench.attacks.base import Samples, Target
from bench.attacks.losses import answers
from bench.threat_models.base import ThreatModel


class BudgetSpent(Exception):  # noqa: N818
    """Every image has had its queries: the attack is over. Not an error."""


class Queries:
    """Who asked what: queries for each image, and the best adversarial point among them.

    Whose image a row of a pass is, :func:`bench.attacks.backends.owners.owners_of` says. Whoever it was meant for, a point that
    is adversarial for the image that it lies near is one.

    Args:
        samples: the images under attack.
        threat_model: what the attack is allowed.
        num_classes: K.
        budget: queries for each image; what is asked later is not looked at. ``None`` for no limit.
        nearest: whether the nearest point is wanted wherever it lies, and not any inside eps.

    Attributes:
        count: queries for each image, shape (N,), int64.
        first: the query with which an adversarial point inside eps was first met, from 1; 0 where none was.
        points: the nearest adversarial point within the budget (inside eps unless ``nearest``), shape (N, C, H, W); the clean
            image where there was none.
        distance: its distance, infinity where there was none, shape (N,).
    """

    def __init__(
        self, samples: Samples, threat_model: ThreatModel, num_classes: int, budget: int | None, *, nearest: bool
    ) -> None:
        self._samples, self._threat_model, self._classes, self._budget = samples, threat_model, num_classes, budget
        self._nearest = nearest
        self.forget()

    def forget(self) -> None:
        """Starts again."""
        samples = self._samples
        self.count = torch.zeros(len(samples), dtype=torch.int64)
        self.first = torch.zeros(len(samples), dtype=torch.int64)
        self.points = samples.x.clone()
        self.distance = torch.full((len(samples),), torch.inf)

    @property
    def spent(self) -> bool:
        """Whether no image has a query left that it could use."""
        if self._budget is None:
            return False
        over = self.count >= self._budget
        return bool((over if self._nearest else over | (self.first > 0)).all())

    def look(self, x: Tensor, logits: Tensor) -> None:
        """Counts a pass and keeps what is better than before.

        Args:
            x: its images, shape (B, C, H, W).
            logits: of the real answers, shape (B, K) or (B, K + 1).
        """
        x = x.detach().to(self._samples.x)
        owners = owners_of(x, self._samples.x).cpu()
        number = self._numbered(owners)
        place = owners.to(x.device)
        mine, y = self._samples.x[place], self._samples.y[place]
        fooled = answers(logits.detach(), y, self._classes).argmax(1) != y
        bounds = self._threat_model.bounds
        fooled &= (x >= bounds[0]).flatten(1).all(1) & (x <= bounds[1]).flatten(1).all(1)
        inside = fooled & self._threat_model.contains(x, mine)
        distance = self._threat_model.distance(x, mine).cpu()
        counts = (number <= self._budget) if self._budget is not None else torch.ones_like(number, dtype=torch.bool)
        for row in (fooled.cpu() & counts).nonzero().flatten().tolist():
            owner = int(owners[row])
            if bool(inside[row]) and not int(self.first[owner]):
                self.first[owner] = number[row]
            wanted = self._nearest or bool(inside[row])
            if wanted and float(distance[row]) < float(self.distance[owner]):
                self.distance[owner] = distance[row]
                self.points[owner] = x[row]

    def _numbered(self, owners: Tensor) -> Tensor:
        """Which query of its image each row is, from 1."""
        number = torch.empty_like(owners)
        for owner in dict.fromkeys(owners.tolist()):
            rows = (owners == owner).nonzero().flatten()
            number[rows] = self.count[owner] + torch.arange(1, len(rows) + 1)
            self.count[owner] += len(rows)
        return number


def halves_agree(model: Target, samples: Samples, draws: int) -> Tensor:
    """Cosine between the gradients of two halves of the draws at the clean image, shape (N,): near 1 where they converged.

    Args:
        model: a stochastic one.
        samples: N of them.
        draws: at least 2.
    """
    x = samples.x.clone().requires_grad_()

    def gradient(half: int) -> Tensor:
        logits = Asked(model, draws=half, probabilities=False, queries=None)(x)
        loss = cross_entropy(answers(logits, samples.y, model.num_classes), samples.y, reduction="sum")
        return torch.autograd.grad(loss, x)[0].flatten(1)

    return cosine_similarity(gradient(draws // 2), gradient(draws - draws // 2)).cpu()


class Asked(nn.Module):
    """The model that a library is given.

    Args:
        target: the model under attack, :func:`bench.attacks.backends.joint.joint_model` where it rejects.
        draws: passes whose logits are averaged where the model is stochastic (EOT over logits).
        probabilities: whether the library wants softmax probabilities.
        queries: looks at every answer; ``None`` for white-box attacks.
    """

    def __init__(self, target: Target, *, draws: int, probabilities: bool, queries: Queries | None) -> None:
        super().__init__()
        self.target = target
        self.num_classes = target.num_classes
        self.draws = draws if target.stochastic else 1
        self.probabilities = probabilities
        self.queries = queries
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """What the library sees, shape (N, K).

        Raises:
            BudgetSpent: where no image has a query left.
        """
        if self.queries is not None and self.queries.spent:
            raise BudgetSpent
        x = x.float()  # a library that works with numpy gives doubles
        logits = self.target(x)
        for _ in range(self.draws - 1):
            logits = logits + self.target(x)
        logits = logits / self.draws
        if self.queries is not None:
            self.queries.look(x, logits)
        return logits.softmax(1) if self.probabilities else logits
