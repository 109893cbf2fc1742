"""The samples that share a pass, each at its own place in its own search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True)
class Batch:
    """B samples under attack: every tensor has B rows, in no particular order.

    Attributes:
        place: row of each sample among those under attack, int64.
        run: which of its runs (restarts, targets) each sample is in, from 0, int64.
        iteration: points that the run has evaluated so far, int64.
        x: clean images, shape (B, C, H, W).
        y: labels, int64.
        x_adv: the points to evaluate next, shape (B, C, H, W).
        ranking: classes by falling clean logit, shape (B, K); only for attacks that choose targets.
        state: whatever else the attack keeps for each sample.
        youngest: no sample's iteration is below; known without asking the device.
        oldest: none is above.
    """

    place: Tensor
    run: Tensor
    iteration: Tensor
    x: Tensor
    y: Tensor
    x_adv: Tensor
    ranking: Tensor | None = None
    state: dict[str, Tensor] = field(default_factory=dict)
    youngest: int = 0
    oldest: int = 0
    _closed: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)
    """images that :meth:`closed_up` copied and may change in place the next time"""

    def __len__(self) -> int:
        return len(self.place)

    def any_new(self) -> bool:
        """Whether a sample is at the first point of its run."""
        return self.youngest == 0 and (self.oldest == 0 or bool((self.iteration == 0).any()))

    def all_new(self) -> bool:
        """Whether all are."""
        return self.youngest == 0 and (self.oldest == 0 or bool((self.iteration == 0).all()))

    def moved_on(self) -> None:
        """Counts a step of every sample."""
        self.iteration = self.iteration + 1
        self.youngest, self.oldest = self.youngest + 1, self.oldest + 1

    def take(self, rows: Tensor) -> Batch:
        """Some of the samples.

        Args:
            rows: indices (int64) or a mask (bool) of shape (B,).
        """
        if rows.dtype == torch.bool:
            rows = rows.nonzero().flatten()
        return self._of(rows, {name: picked(values, rows) for name, values in self._large().items()})

    def closed_up(self, rows: Tensor) -> Batch:
        """The samples that stay, the last of them in the places of those that left: what :meth:`take` gives, for less.

        On a CPU only the rows that move are copied, of what no step has replaced since the last time; this batch must not be
        used any more.

        Args:
            rows: of :func:`closing`.
        """
        large = self._large()
        mine = [name for name, values in large.items() if values is self._closed.get(name) and _fits(values, len(rows))]
        # What is copied may share memory with what is changed after it.
        found = {name: picked(values, rows) for name, values in large.items() if name not in mine}
        if mine:
            places = (rows != torch.arange(len(rows), device=rows.device)).nonzero().flatten()
            for name in mine:
                large[name].index_copy_(0, places, picked(large[name], rows[places]))
                found[name] = large[name][: len(rows)]
        batch = self._of(rows, found)
        if on_cpu(rows):
            batch._closed = {name: values for name, values in found.items() if values.dim() == 4}
        return batch

    def _large(self) -> dict[str, Tensor]:
        return {"x": self.x, "x_adv": self.x_adv, **{f"state {name}": values for name, values in self.state.items()}}

    def _of(self, rows: Tensor, large: dict[str, Tensor]) -> Batch:
        return Batch(
            self.place[rows],
            self.run[rows],
            self.iteration[rows],
            large["x"],
            self.y[rows],
            large["x_adv"],
            None if self.ranking is None else self.ranking[rows],
            {name: large[f"state {name}"] for name in self.state},
            self.youngest,
            self.oldest,
        )

    def to_channels_last(self) -> Batch:
        """The same values, images with the channels last in memory."""
        self.x, self.x_adv = _channels_last(self.x), _channels_last(self.x_adv)
        self.state = {name: _channels_last(value) for name, value in self.state.items()}
        return self

    def joined(self, other: Batch) -> Batch:
        """These samples and others of the same attack."""
        if not len(self):
            return other
        if not len(other):
            return self
        both = None if self.ranking is None or other.ranking is None else torch.cat([self.ranking, other.ranking])
        return Batch(
            torch.cat([self.place, other.place]),
            torch.cat([self.run, other.run]),
            torch.cat([self.iteration, other.iteration]),
            torch.cat([self.x, other.x]),
            torch.cat([self.y, other.y]),
            torch.cat([self.x_adv, other.x_adv]),
            both,
            {name: torch.cat([value, other.state[name]]) for name, value in self.state.items()},
            min(self.youngest, other.youngest),
            max(self.oldest, other.oldest),
        )


@dataclass(slots=True)
class Seen:
    """What one pass over a batch showed.

    Attributes:
        logits: shape (B, K), detached.
        margin: best other logit minus the label's, shape (B,): above 0 where misclassified.
        losses: the attack's objectives, each of shape (B,), detached.
        gradients: of each objective at the points, shape (B, C, H, W); empty where none was wanted.
    """

    logits: Tensor
    margin: Tensor
    losses: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...] = ()

    @property
    def loss(self) -> Tensor:
        """The first objective, shape (B,)."""
        return self.losses[0]

    @property
    def gradient(self) -> Tensor:
        """The gradient of the first objective, shape (B, C, H, W)."""
        return self.gradients[0]

    def take(self, rows: Tensor) -> Seen:
        """Some of the samples; ``rows`` as in :meth:`Batch.take`."""
        if rows.dtype == torch.bool:
            rows = rows.nonzero().flatten()
        return Seen(
            self.logits[rows],
            self.margin[rows],
            tuple(loss[rows] for loss in self.losses),
            tuple(picked(gradient, rows) for gradient in self.gradients),
        )

    @classmethod
    def joined(cls, parts: Sequence[Seen]) -> Seen:
        """Several passes over the pieces of one batch."""
        return cls(
            torch.cat([part.logits for part in parts]),
            torch.cat([part.margin for part in parts]),
            tuple(torch.cat(losses) for losses in zip(*(part.losses for part in parts), strict=True)),
            tuple(torch.cat(gradients) for gradients in zip(*(part.gradients for part in parts), strict=True)),
        )

    @classmethod
    def mean(cls, passes: Sequence[Seen]) -> Seen:
        """Several passes over the same points of a random model (EOT)."""
        if len(passes) == 1:
            return passes[0]
        return cls(
            torch.stack([one.logits for one in passes]).mean(0),
            torch.stack([one.margin for one in passes]).mean(0),
            tuple(torch.stack(losses).mean(0) for losses in zip(*(one.losses for one in passes), strict=True)),
            tuple(_mean(gradients) for gradients in zip(*(one.gradients for one in passes), strict=True)),
        )


def on_cpu(values: Tensor) -> bool:
    """Whether it costs little to look at values: a CPU skips work for what it sees, other devices must be waited for."""
    return values.device.type == "cpu"


def picked(values: Tensor, rows: Tensor) -> Tensor:
    """Some rows of values, copied, in the same layout; of values in one piece several times faster than by indexing.

    Args:
        values: shape (B, ...).
        rows: int64.
    """
    if values.is_contiguous():
        return values.index_select(0, rows)
    if lies_channels_last(values):
        return values.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return values[rows]


def lies_channels_last(values: Tensor) -> bool:
    """Whether they lie in memory with the channels last, and not also in the usual order (as images of one channel do)."""
    return values.dim() == 4 and not values.is_contiguous() and values.is_contiguous(memory_format=torch.channels_last)


def closing(stays: Tensor) -> Tensor:
    """Which row comes to each place when some leave: on a CPU the last ones go to the free places, and the others stay.

    Args:
        stays: bool, shape (B,).

    Returns:
        int64, one for each row that stays.
    """
    rows = stays.nonzero().flatten()
    if not on_cpu(stays):
        return rows
    count = len(rows)
    before = int(stays[:count].sum())
    order = torch.arange(count, device=rows.device)
    order[~stays[:count]] = rows[before:]
    return order


def _fits(values: Tensor, rows: int) -> bool:
    """Whether so many rows fill at least half of the memory that the values hold."""
    return 2 * rows * values[:1].nbytes >= values.untyped_storage().nbytes()


def flat(images: Tensor, like: Tensor) -> Tensor:
    """Each image as a row of its pixels, in the order in which those of a batch lie in memory, shape (B, D).

    Args:
        images: shape (B, C, H, W).
        like: images of the batch, of the same shape.
    """
    return (images.permute(0, 2, 3, 1) if lies_channels_last(like) else images).flatten(1)


def unflat(rows: Tensor, like: Tensor) -> Tensor:
    """The images whose :func:`flat` rows these are, shape (B, C, H, W)."""
    if not lies_channels_last(like):
        return rows.view_as(like)
    count, channels, height, width = like.shape
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


def per_image(values: Tensor) -> Tensor:
    """One number for each image, shape (B,), as (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def without_label(classes: Tensor, y: Tensor) -> Tensor:
    """Every row of classes but its label, in the same order.

    Args:
        classes: a permutation of all classes for each sample, shape (B, K).
        y: labels, shape (B,).

    Returns:
        Shape (B, K - 1).
    """
    return classes[classes != y[:, None]].view(len(y), -1)


def _channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last) if values.dim() == 4 else values


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Of large tensors, without a copy of them all."""
    total = values[0].clone()
    for value in values[1:]:
        total += value
    return total.div_(len(values))
