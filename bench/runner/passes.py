"""The most passes that a cell may spend on a sample."""

from __future__ import annotations

import math
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
    found = attack_passes(cell, num_classes)
    if found is None:
        return None
    predictions = 2.0 * (cell.defense.scoring_draws or 1) * _networks(cell)
    return Passes(found.forwards + predictions, found.backwards)


def attack_passes(cell: Cell, num_classes: int) -> Passes | None:
    """The most of its attack alone, without what judges it: what the columns of the records count.

    Args:
        cell: the cell.
        num_classes: of its dataset.
    """
    if cell.transferred:
        return Passes(0.0, 0.0)
    try:
        forwards, backwards = attack_of(cell).passes(num_classes)
    except NotImplementedError:  # a third party's attack may not tell
        return None
    each = float(_networks(cell))
    if cell.defense.eot_iter and cell.adversary == "adaptive":
        each *= cell.defense.eot_iter
    return Passes(each * forwards, each * backwards)


def most_passes(cell: Cell, num_classes: int, samples: int) -> float:
    """By which cheap cells come first: the most passes of so many samples, infinitely many where the attack doesn't tell.

    Args:
        cell: the cell.
        num_classes: of its dataset.
        samples: how many.
    """
    try:
        each = passes(cell, num_classes)
    except Exception:  # noqa: BLE001 (a third party's attack: its own cell fails when it runs, this is an estimate)
        return math.inf
    return math.inf if each is None else samples * sum(each)


def _networks(cell: Cell) -> int:
    """Models that answer each question."""
    return 1 + len(members(cell.defense))
