"""The most passes that a cell may spend on a sample."""

from __future__ import annotations

from typing import NamedTuple

from bench.runner.facts import attack_of
from bench.suites.cells import Cell
from bench.suites.references import members


class Passes(NamedTuple):
    """Forward and backward passes through one network, per sample."""

    forwards: float
    backwards: float


def passes(cell: Cell, num_classes: int) -> Passes | None:
    """The most that a cell may spend on a sample; ``None`` where the attack doesn't tell.

    Args:
        cell: the cell.
        num_classes: of its dataset.
    """
    if cell.transferred:
        return Passes(1.0, 0.0)
    try:
        forwards, backwards = attack_of(cell).passes(num_classes)
    except NotImplementedError:  # a third party's attack may not tell
        return None
    defense = cell.defense
    if defense.eot_iter and cell.adversary == "adaptive":
        forwards, backwards = forwards * defense.eot_iter, backwards * defense.eot_iter
    forwards += 2.0 * (defense.scoring_draws or 1)
    networks = 1 + len(members(defense))
    return Passes(networks * forwards, networks * backwards)
