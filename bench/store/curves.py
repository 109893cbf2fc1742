"""Curves of robust accuracy from the records: against eps, and against the passes that an attack spends.

Either way every sample has a number up to which it holds, and the robust accuracy at x is the share of the samples whose
number is above x. Every curve is an upper bound: a stronger attack can only lower it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bench.stats import wilson
from bench.store.cell_outcome import CellOutcome
from bench.store.joined import FloatArray
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.suites.spec import ThreatModelSpec

_OURS = (None, "bench")
"""Backends that count the passes of every sample; libraries share theirs out evenly over a batch."""


class Level(NamedTuple):
    """The robust accuracy at one place of a curve, with its 95 % interval over the sampling of images."""

    x: float
    robust_accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One curve of one (model, defense).

    Attributes:
        model: id of the model.
        defense: the defense's name in tables; ``none`` for the bare model.
        label: both, for people.
        threat_model: that of the cells; of several radii the first.
        attack: the attack's name in tables.
        role: why the cells are there.
        holds: up to where each sample holds, shape (N,): 0 where it is wrong on the clean image, infinity where nothing
            broke it.
        end: up to where the curve is known: beyond, nothing was tried.
    """

    model: str
    defense: str
    label: str
    threat_model: ThreatModelSpec
    attack: str
    role: str
    holds: FloatArray
    end: float

    def at(self, places: Iterable[float]) -> list[Level]:
        """The robust accuracies at these places."""
        ordered, levels = np.sort(self.holds), []
        for x in places:
            robust = len(ordered) - int(np.searchsorted(ordered, x, side="right"))
            interval = wilson(robust, len(ordered))
            levels.append(Level(float(x), robust / len(ordered), interval.low, interval.high))
        return levels

    def places(self, most: int = 200) -> list[float]:
        """Where the curve steps, from 0; so many places at even distances where it steps more often."""
        steps = np.unique(self.holds[np.isfinite(self.holds)])
        if len(steps) > most:
            steps = np.linspace(0.0, float(steps[-1]), most)
        return sorted({0.0, *map(float, steps)})


def distance_curves(outcome: RunOutcome) -> list[Curve]:
    """Robust accuracy against eps, per norm, row and minimum-norm attack.

    From the valid cells of the ``strongest`` search, those that make examples for the oblivious adversary included. A
    sample holds up to its smallest distance over seeds, and over the radii of the suite: each was verified.
    """
    groups: dict[tuple[str, str, str], list[tuple[RowOutcome, CellOutcome]]] = {}
    for row in outcome.rows:
        for cell in row.cells:
            if _measures_distance(cell):
                groups.setdefault((row.threat_model.norm, row.label, cell.attack), []).append((row, cell))
    curves = []
    for members in groups.values():
        row, cell = members[0]
        holds = np.minimum.reduce([other.minimal_distance for _, other in members])
        curves.append(_curve(row, cell, holds, float("inf")))
    return curves


def union(curves: Sequence[Curve], attack: str) -> Curve:
    """The worst case over several curves of one row, under a name of its own."""
    return replace(curves[0], attack=attack, holds=np.minimum.reduce([curve.holds for curve in curves]))


def pass_curves(outcome: RunOutcome) -> list[Curve]:
    """Robust accuracy against forward and backward passes per sample, per threat model, row and attack.

    From the valid cells that stop at the first success: there a sample's passes are those that it took to break it.
    Several seeds are restarts, one after the other. Attacks of libraries are left out, whose passes are shared out evenly
    over a batch, and the ``strongest`` search, which spends its whole budget on every sample.
    """
    curves = []
    for row in outcome.rows:
        groups: dict[tuple[str, str], list[CellOutcome]] = {}
        for cell in row.cells:
            if _tells_passes(cell):
                groups.setdefault((cell.attack, cell.role), []).append(cell)
        for cells in groups.values():
            curves.append(_spent(row, sorted(cells, key=lambda cell: cell.seed)))
    return curves


def query_curves(outcome: RunOutcome) -> list[Curve]:
    """How long correct images hold against score- and decision-based attacks, in queries, per threat model, row and attack.

    From the valid cells whose queries were counted. Images that are wrong when clean are left out: 1 minus the robust
    accuracy of these curves is the attack success rate. Several seeds are restarts. A cell that builds on a smaller eps is
    left out: what that had broken wasn't asked about again.
    """
    curves = []
    for row in outcome.rows:
        groups: dict[tuple[str, str], list[CellOutcome]] = {}
        for cell in row.cells:
            if _tells_queries(cell):
                groups.setdefault((cell.attack, cell.role), []).append(cell)
        for cells in groups.values():
            correct = cells[0].clean_correct
            holds, spent = np.full(int(correct.sum()), np.inf), 0.0
            for cell in sorted(cells, key=lambda cell: cell.seed):
                queries, broken = cell.queries[correct], ~cell.robust[correct]
                holds = np.where(np.isinf(holds) & broken, spent + queries, holds)
                spent += _budget(cell, queries)
            curves.append(_curve(row, cells[0], holds, spent))
    return curves


def _tells_queries(cell: CellOutcome) -> bool:
    if cell.role not in ("suite", "gradient_free") or not cell.valid:
        return False
    return bool(cell.clean_correct.any()) and not bool(np.isnan(cell.queries[cell.clean_correct]).any())


def _budget(cell: CellOutcome, queries: FloatArray) -> float:
    """Queries that an image had: the budget where the suite gave one, else the most that one is known to have had."""
    args = {} if cell.result is None else cell.result.attack.args
    given = args.get("max_queries") or args.get("n_queries")
    return (
        float(given)
        if given
        else float(max(queries.max(initial=0.0), cell.passes[cell.clean_correct].max(initial=0.0)))
    )


def _measures_distance(cell: CellOutcome) -> bool:
    if cell.role not in ("suite", "prerequisite") or not cell.valid or cell.result is None:
        return False
    return cell.result.search == "strongest" and not bool(np.isnan(cell.minimal_distance).any())


def _tells_passes(cell: CellOutcome) -> bool:
    if cell.role not in ("suite", "gradient_free") or not cell.valid or cell.result is None:
        return False
    return cell.result.search == "first_success" and cell.result.attack.backend in _OURS


def _spent(row: RowOutcome, cells: list[CellOutcome]) -> Curve:
    correct = cells[0].clean_correct
    holds = np.where(correct, np.inf, 0.0)
    spent = np.zeros(len(holds))
    for cell in cells:
        spent = spent + cell.passes
        holds = np.where(np.isinf(holds) & ~cell.robust, spent, holds)
    return _curve(row, cells[0], holds, float(spent.max(initial=0.0)))


def _curve(row: RowOutcome, cell: CellOutcome, holds: FloatArray, end: float) -> Curve:
    return Curve(row.model, row.defense, row.label, row.threat_model, cell.attack, cell.role, holds, end)
