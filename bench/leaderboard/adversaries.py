"""Which part of the adversary broke how many images of a defended row."""

from __future__ import annotations

import numpy as np

from bench.leaderboard.records import Broken
from bench.store.cell_outcome import CellOutcome, unbroken
from bench.store.outcomes import RowOutcome
from bench.suites.declared import declared
from bench.suites.spec import DefenseSpec

OTHER_MODELS = "other models"
"""The part of the adversary that shows examples of other models; ``transfer`` are those of the row's own bare model."""
_PARTS = {
    "naive": "naive",
    "oblivious": "transfer",
    "gradient_free": "gradient-free",
    "submitted": "submitted",
    "transfer": OTHER_MODELS,
}


def broken_by(row: RowOutcome) -> dict[str, Broken]:
    """What each part broke, of the images that are right when clean; nothing for the bare model.

    Only verified successes of finished shards count; the images that only one part broke say whether it was needed.
    """
    if row.bare:
        return {}
    parts: dict[str, list[CellOutcome]] = {}
    for cell in row.attacked:
        parts.setdefault(_part(cell), []).append(cell)
    fallen = {part: row.clean_correct & ~unbroken(tuple(cells)) for part, cells in parts.items()}
    found = {}
    for part, broken in fallen.items():
        others = [other for name, other in fallen.items() if name != part]
        elsewhere = np.logical_or.reduce(others) if others else np.zeros_like(broken)
        found[part] = Broken(count=int(broken.sum()), alone=int((broken & ~elsewhere).sum()))
    return found


def _part(cell: CellOutcome) -> str:
    if cell.role != "suite":
        return _PARTS.get(cell.role, cell.role)
    return "exact gradient" if cell.result is None else gradient_of(cell.result.defense)


def attacker(defense: DefenseSpec) -> str:
    """How the adaptive adversary attacks a defense, for people: whose gradient, how many draws, the detector too."""
    facts = declared(defense)
    parts = [
        f"{link.id or link.name}: {_gradient(link)}" if defense.chain else _gradient(link) for link in defense.links
    ]
    if facts.stochastic:
        parts.append(f"each gradient averaged over {defense.eot_iter or 1} draw{'s' * (defense.eot_iter != 1)} (EOT)")
    if facts.rejects:
        parts.append("the classifier first and then its detector (joint)")
    return "; ".join(parts)


def _gradient(link: DefenseSpec) -> str:
    """Whose gradient stands for that of one defense."""
    if link.surrogate == "exact":
        return "the exact gradient, as the suite asks"
    if link.surrogate is not None and link.surrogate != "own":
        return f"BPDA with the gradient of {link.surrogate} in its place"
    if declared(link).differentiable:
        return "the exact gradient"
    return f"BPDA with the stand-in that {link.name} brings (the identity where it brings none)"


def gradient_of(defense: DefenseSpec) -> str:
    """How the adaptive adversary takes the gradient of a defense: ``exact gradient``, ``BPDA``, ``EOT + joint``, ..."""
    facts = declared(defense)
    exact = all(link.surrogate == "exact" for link in defense.links)
    words = [] if facts.differentiable or exact else ["BPDA"]
    words += [f"EOT-{defense.eot_iter}"] if facts.stochastic else []
    words += ["joint"] if facts.rejects else []
    return " + ".join(words) or "exact gradient"
