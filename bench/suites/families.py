"""Families of cells: the same attack on the same model under balls of one norm that grow.

A verified success at a smaller eps lies inside every larger ball, so there the sample is broken already: a cell that
stops at the first success builds on the next smaller eps of its family.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.suites.cells import Cell, digest
from bench.suites.declared import declared


def next_smaller(cells: Sequence[Cell]) -> list[int | None]:
    """For each cell, the place of the cell that it may build on: of its family, with the next smaller eps.

    A family is what differs in nothing but eps: role, model, defense, adversary, attack, seed, precision and norm. Only
    cells that attack and stop at the first success (``first_success``) have one: the points of a ``strongest`` search
    are wanted at their own eps, ``prerequisite`` and ``oblivious`` cells among them. Nor have those of a stochastic defense:
    a larger ball leaves fewer draws right on a sample that a majority of draws gets wrong already.

    Args:
        cells: of one suite, in any order.
    """
    families: dict[str, list[int]] = {}
    for place, cell in enumerate(cells):
        alone = cell.search != "first_success" or cell.role not in ("suite", "gradient_free")
        if not alone and not declared(cell.defense).stochastic:
            families.setdefault(_family(cell), []).append(place)
    found: list[int | None] = [None] * len(cells)
    for places in families.values():
        for place in places:
            eps = cells[place].threat_model.eps
            smaller = [other for other in places if cells[other].threat_model.eps < eps]
            found[place] = max(smaller, key=lambda other: cells[other].threat_model.eps, default=None)
    return found


def running_order(cells: Sequence[Cell]) -> list[int]:
    """The places of cells in the order of running: the suite's, except that within a model and a norm eps grows, and that
    what judges the examples of other models comes when all are made.
    """
    models = list(dict.fromkeys(cell.model.id for cell in cells))
    norms = list(dict.fromkeys(cell.threat_model.norm for cell in cells))
    return sorted(
        range(len(cells)),
        key=lambda place: (
            cells[place].role == "transfer",
            models.index(cells[place].model.id),
            norms.index(cells[place].threat_model.norm),
            cells[place].threat_model.eps,
        ),
    )


def _family(cell: Cell) -> str:
    return digest(
        {
            "role": cell.role,
            "model": cell.model.id,
            "defense": cell.defense.model_dump(mode="json"),
            "attack": cell.attack.model_dump(mode="json"),
            "adversary": cell.adversary,
            "norm": cell.threat_model.norm,
            "seed": cell.seed,
            "precision": cell.precision,
        }
    )
