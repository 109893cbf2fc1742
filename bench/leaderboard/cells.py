"""How cells are called where two runs are laid side by side: by what they are, not by their hash."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bench.store.cell_outcome import CellOutcome
from bench.store.records import CellResult

CLEAN, WORST, CORRUPTED = "clean", "worst case", "corrupted"
"""The numbers of a row beside those of single attacks: the last is the mean accuracy under common corruptions."""
CORRUPTIONS = "corruptions"
"""Stands where others have their threat model."""
_ROLES = {"gradient_free": "gradient-free", "suite": ""}


def cell_name(cell: CellOutcome) -> str:
    """The attack, and in brackets its role and seed where it isn't the suite's own with seed 0."""
    more = [_ROLES.get(cell.role, cell.role)] if cell.role != "suite" else []
    more += [f"seed {cell.seed}"] if cell.seed else []
    return f"{cell.attack} ({', '.join(more)})" if more else cell.attack


def named_cells(cells: Iterable[CellOutcome]) -> dict[str, CellOutcome]:
    """Cells by name, in their order; several submissions of one author are numbered."""
    found: dict[str, CellOutcome] = {}
    for cell in cells:
        name, number = cell_name(cell), 1
        while name in found:
            number += 1
            name = f"{cell_name(cell)} #{number}"
        found[name] = cell
    return found


def reseeded(
    mine: dict[str, CellOutcome], theirs: dict[str, CellOutcome]
) -> tuple[dict[str, CellOutcome], tuple[str, ...]]:
    """The cells of B by the names of A's, and notes on what was renamed.

    An attack that ran with as many other seeds is the same attack with other draws.

    Args:
        mine: the cells of A by name.
        theirs: those of B.
    """
    alone = [
        {name: cell for name, cell in one.items() if name not in other}
        for one, other in ((mine, theirs), (theirs, mine))
    ]
    kinds = dict.fromkeys((cell.role, cell.attack) for cell in alone[0].values() if cell.role != "submitted")
    names: dict[str, str] = {}
    for kind in kinds:
        a, b = ([name for name, cell in one.items() if (cell.role, cell.attack) == kind] for one in alone)
        names |= dict(zip(b, a, strict=True)) if len(a) == len(b) else {}
    seeds = dict.fromkeys(f"seed {mine[a].seed} in A, {theirs[b].seed} in B" for b, a in names.items())
    return {names.get(name, name): cell for name, cell in theirs.items()}, tuple(seeds)


def definition(result: CellResult) -> dict[str, Any]:  # Any: JSON values
    """What a cell's attack is: its name, its backend, its search and all parameters."""
    attack = result.attack
    return {"name": attack.name, "backend": attack.backend, "search": result.search, **attack.args}


def changes(a: dict[str, Any], b: dict[str, Any]) -> str:  # Any: JSON values
    """The keys in which two definitions differ, with both values; empty where they are the same."""
    keys = [key for key in dict.fromkeys([*a, *b]) if a.get(key) != b.get(key)]
    return ", ".join(f"{key} {a.get(key)} and {b.get(key)}" for key in keys)
