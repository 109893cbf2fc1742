"""Square: random search with square-shaped changes; needs no gradient.

Andriushchenko et al. 2020, Square Attack: a query-efficient black-box adversarial attack via random search,
arXiv:1912.00049; under L1 Croce & Hein 2021, Mind the box, arXiv:2103.01208, section 4. Every sample draws its own squares,
whatever batch it is in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen
from bench.attacks.draws import uniform
from bench.attacks.losses import margin
from bench.attacks.parameters import SquareParams
from bench.attacks.search_attack import Look, SearchAttack

SCHEDULE = ((10, 1), (50, 2), (200, 4), (500, 8), (1000, 16), (2000, 32), (4000, 64), (6000, 128), (8000, 256))
"""Until which of 10,000 queries the first share of pixels is divided by what; by 512 afterwards (section 3.1)."""
QUERIES = 10_000
ORDER = {"l2": 2, "l1": 1}
_TINY = 1e-12


class Square(SearchAttack):
    """Changes one random square at a time and keeps what raises the margin."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")
    backends: ClassVar[dict[str, str]] = {"autoattack": "bench.attacks.backends.autoattack:ReferenceSquare"}
    uses_gradients: ClassVar[bool] = False
    fine: ClassVar[bool] = True  # most of its changes raise the margin by little
    revision: ClassVar[int] = 2
    params: SquareParams

    @property
    def steps(self) -> int:
        """Changes of one run: the first query is the start."""
        return self.params.n_queries - 1

    @cached_property
    def shares(self) -> Tensor:
        """Share of the pixels that the change after each query takes, shape (n_queries,); it never grows."""
        return torch.tensor([self._share(query) for query in range(self.params.n_queries)])

    def _sides(self, height: int, width: int) -> Tensor:
        """The side of each of those squares, shape (n_queries,), int64: from one table, so that no device rounds otherwise."""
        tables: dict[tuple[int, int], Tensor] = self.__dict__.setdefault("_tables", {})
        if (height, width) not in tables:
            tables[height, width] = _side(self.shares, height, width, 1)
        return tables[height, width]

    def _share(self, query: int) -> float:
        at = int(query / self.params.n_queries * QUERIES) if self.params.rescale_schedule else query
        divisor = next((divisor for until, divisor in SCHEDULE if at <= until), 512)
        return self.params.p_init / divisor

    def runs(self, num_classes: int) -> int:
        """Independent starts."""
        return self.params.restarts

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The margin."""
        return (margin(logits, batch.y),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """Vertical stripes under Linf, a grid of bumps under L2 and L1."""
        keys = context.draws.keys(ids, stage=context.stage, restarts=batch.run.tolist(), device=batch.x.device)
        batch.state = {"key": keys, "best_loss": torch.full_like(batch.x[:, 0, 0, 0], -torch.inf)}
        count, channels, _, width = batch.x.shape
        box = context.threat_model.box(batch.x)
        if box is not None:
            low, high = box
            batch.state |= {
                "first": torch.zeros_like(keys),
                "side": torch.ones_like(keys),
            }
            up = uniform(keys, torch.zeros_like(keys), channels * width) < 0.5
            batch.x_adv = torch.where(up.view(count, channels, 1, width), high, low)
        else:
            batch.x_adv = _bumps(batch, context)
        batch.state["best"] = batch.x_adv.clone()

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """Keeps the last change where it helped, and makes another."""
        state = batch.state
        better = seen.loss > state["best_loss"]
        state["best_loss"] = torch.where(better, seen.loss, state["best_loss"])
        if "side" in state:
            x_adv = batch.x_adv.contiguous()
            if not batch.all_new():
                self._settle(batch, x_adv, better)
            batch.x_adv = self._square(batch, x_adv, context)
        else:
            state["best"] = torch.where(better.view(-1, 1, 1, 1), batch.x_adv, state["best"])
            share = self.there(self.shares, batch.x.device)[batch.iteration]
            batch.x_adv = _two_windows(batch, share, context)

    def guesses(self, context: AttackContext) -> bool:
        """Under Linf, where a change can be made without a look at the one before."""
        return context.threat_model.norm == "linf"

    def guess(self, batch: Batch, context: AttackContext) -> None:
        """Another square on the best point."""
        batch.x_adv = self._square(batch, batch.state["best"].clone(memory_format=torch.contiguous_format), context)

    def _square(self, batch: Batch, x_adv: Tensor, context: AttackContext) -> Tensor:
        """The best points with one square, in each channel, at the top or the bottom of what eps allows."""
        state, (count, channels, height, width) = batch.state, batch.x.shape
        sides = self._sides(height, width)
        side = state["side"] = self.there(sides, batch.x.device)[batch.iteration]
        draws = uniform(state["key"], batch.iteration + 1, 2 + channels)
        state["first"] = _corner(draws[:, 0], height, side) * width + _corner(draws[:, 1], width, side)
        places = self._places(batch, batch.youngest, batch.oldest)
        up = (draws[:, 2:] < 0.5)[:, :, None].expand(count, channels, places.shape[1] // channels).flatten(1)
        box = context.threat_model.box(batch.x.flatten(1).gather(1, places))
        assert box is not None
        low, high = box
        x_adv.flatten(1).scatter_(1, places, torch.where(up, high, low))
        return x_adv

    def _settle(self, batch: Batch, x_adv: Tensor, better: Tensor) -> None:
        """The last square stays where it helped, and is undone where it didn't; only its pixels are touched."""
        places = self._places(batch, batch.youngest - 1, batch.oldest - 1)
        best = batch.state["best"].flatten(1)
        kept = torch.where(better[:, None], x_adv.flatten(1).gather(1, places), best.gather(1, places))
        best.scatter_(1, places, kept)
        x_adv.flatten(1).scatter_(1, places, kept)

    def _places(self, batch: Batch, youngest: int, oldest: int) -> Tensor:
        """The pixels of each sample's square, shape (B, C * S * S): S is the largest side that may be in the batch.

        Samples with a smaller side have pixels twice.

        Args:
            batch: whose squares they are.
            youngest: no square was made after an earlier query; below 0, some samples may have none yet.
            oldest: nor one after a later.
        """
        _, channels, height, width = batch.x.shape
        sides, device = self._sides(height, width), batch.x.device
        largest, smallest = (int(sides[min(max(query, 0), len(sides) - 1)]) for query in (youngest, oldest))
        first = batch.state["first"][:, None]
        if largest == smallest:
            return first + _square_of(largest, channels, height, width, device)
        reach = torch.arange(largest, device=device).expand(len(batch), -1)
        reach = torch.minimum(reach, batch.state["side"][:, None] - 1)
        plane = (reach[:, :, None] * width + reach[:, None, :]).flatten(1)
        offsets = torch.arange(channels, device=device) * (height * width)
        return first + (plane[:, None, :] + offsets[None, :, None]).flatten(1)


@cache
def _square_of(side: int, channels: int, height: int, width: int, device: torch.device) -> Tensor:
    """The pixels of the square at the top left, shape (C * side * side,)."""
    pixels = torch.arange(channels * height * width, device=device).view(channels, height, width)
    return pixels[:, :side, :side].flatten()


def _side(share: Tensor, height: int, width: int, smallest: int) -> Tensor:
    """The side of a square that covers a share of the pixels, shape (B,), int64."""
    side = (share * height * width).sqrt().round().long()
    return side.clamp(min(smallest, height, width), min(height, width))


def _corner(draw: Tensor, length: int, side: Tensor) -> Tensor:
    return (draw * (length - side + 1)).long()


def _window(start: Tensor, side: Tensor, length: int) -> Tensor:
    places = torch.arange(length, device=start.device)
    return (places >= start[:, None]) & (places < (start + side)[:, None])


def _two_windows(batch: Batch, share: Tensor, context: AttackContext) -> Tensor:
    """The best perturbations with the budget of one window moved into another (section 3.3)."""
    _, _, height, width = batch.x.shape
    side = _side(share, height, width, 3)
    side = torch.where(side % 2 == 0, side + 1, side).clamp_max(min(height, width))
    delta = batch.state["best"] - batch.x
    sides = [int(side[0])] if batch.youngest == batch.oldest else torch.unique(side).tolist()
    if len(sides) == 1:
        delta = _moved_budget(delta, int(sides[0]), batch, torch.arange(len(batch), device=side.device), context)
    else:
        delta = delta.clone()
        for one in sides:
            rows = (side == one).nonzero().flatten()
            delta[rows] = _moved_budget(delta[rows], int(one), batch, rows, context)
    return _scaled(delta, batch, context)


def _moved_budget(delta: Tensor, side: int, batch: Batch, rows: Tensor, context: AttackContext) -> Tensor:
    """For samples whose windows have the same side."""
    count, channels, height, width = delta.shape
    draws = uniform(batch.state["key"][rows], batch.iteration[rows] + 1, 5 + channels)
    sides = torch.full_like(rows, side)
    first = _rectangle(draws[:, 0], draws[:, 1], sides, height, width)
    second = _rectangle(draws[:, 2], draws[:, 3], sides, height, width)
    either = first | second
    order = ORDER[context.threat_model.norm]
    size = delta.abs() ** order
    left = (context.threat_model.radius**order - size.sum((1, 2, 3), keepdim=True)).clamp_min(0) / channels
    budget = left + (size * either).sum((2, 3), keepdim=True)
    bump = _bump(side, order, delta.device)
    bump = torch.where((draws[:, 4] < 0.5)[:, None, None], bump, bump.T)[:, None]
    signs = torch.where(draws[:, 5:] < 0.5, 1.0, -1.0)[:, :, None, None]
    window = first.expand(count, channels, height, width)
    old = delta[window].view(count, channels, side, side)
    new = bump * signs + old / (_length(old, order) + _TINY)
    new = new / (_length(new, order) + _TINY) * (budget.sqrt() if order == 2 else budget * channels)
    emptied = torch.where(second, torch.zeros_like(delta), delta)
    emptied[window] = new.flatten()
    return emptied


def _rectangle(top: Tensor, left: Tensor, side: Tensor, height: int, width: int) -> Tensor:
    """A square window of each sample, shape (B, 1, H, W), bool."""
    rows = _window(_corner(top, height, side), side, height)
    columns = _window(_corner(left, width, side), side, width)
    return rows[:, None, :, None] & columns[:, None, None, :]


def _scaled(delta: Tensor, batch: Batch, context: AttackContext) -> Tensor:
    """At length eps, then cut with the bounds; under L1 the nearest point inside both."""
    if context.threat_model.norm == "l1":
        return context.threat_model.project(batch.x + delta, batch.x)
    length: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1).clamp_min(_TINY)
    factor: Tensor = (context.threat_model.radius / length).view(-1, 1, 1, 1)
    return (batch.x + delta * factor).clamp(*context.threat_model.bounds)


def _bumps(batch: Batch, context: AttackContext) -> Tensor:
    """A grid of five by five bumps with random signs, at length eps."""
    count, channels, height, width = batch.x.shape
    side = max(min(height, width) // 5, 1)
    rows, columns = height // side, width // side
    draws = uniform(batch.state["key"], torch.zeros_like(batch.place), rows * columns * (channels + 1))
    draws = draws.view(count, rows * columns, channels + 1)
    delta = torch.zeros_like(batch.x)
    bump = _bump(side, ORDER[context.threat_model.norm], batch.x.device)
    top, left = (height - side * rows) // 2, (width - side * columns) // 2
    for tile in range(rows * columns):
        at_row, at_column = top + tile // columns * side, left + tile % columns * side
        turned = torch.where((draws[:, tile, -1] < 0.5)[:, None, None], bump, bump.T)[:, None]
        signs = torch.where(draws[:, tile, :-1] < 0.5, 1.0, -1.0)[:, :, None, None]
        delta[:, :, at_row : at_row + side, at_column : at_column + side] = turned * signs
    return _scaled(delta, batch, context)


def _length(delta: Tensor, order: int) -> Tensor:
    """Of each channel, shape (B, C, 1, 1)."""
    length: Tensor = torch.linalg.vector_norm(delta, ord=order, dim=(2, 3), keepdim=True)
    return length


@cache
def _bump(side: int, order: int, device: torch.device) -> Tensor:
    """The paper's eta: two opposite pyramids side by side, of length 1, shape (side, side)."""
    if side == 1:
        return torch.ones(1, 1, device=device)
    both = torch.cat([_pyramid(side // 2, side, order), -_pyramid(side - side // 2, side, order)])
    length: Tensor = torch.linalg.vector_norm(both, ord=order, dim=(0, 1))
    return (both / length).to(device)


def _pyramid(height: int, width: int, order: int) -> Tensor:
    """Nested rectangles around the middle, each lower than the one inside it, steeper under L1."""
    values = torch.zeros(height, width)
    middle_row, middle_column = height // 2, width // 2
    for ring in range(max(height // 2, width // 2) + 1):
        rows = slice(max(middle_row - ring, 0), min(middle_row + ring + 1, height))
        columns = slice(max(middle_column - ring, 0), min(middle_column + ring + 1, width))
        values[rows, columns] += 1 / (ring + 1) ** (2 if order == 2 else 4)
    pyramid: Tensor = values / torch.linalg.vector_norm(values, ord=order, dim=(0, 1))
    return pyramid
