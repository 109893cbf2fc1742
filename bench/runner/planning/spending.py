"""How many passes an attack spends on the samples of a cell: known from rows that are there, else its whole budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.attacks.base import Attack
from bench.attacks.ensemble import Ensemble
from bench.attacks.search_attack import SearchAttack
from bench.runner.passes import Passes
from bench.runner.planning.speeds import Bound, FloatArray
from bench.store.parts import ShardReport

Z = 1.96
"""The 95 % interval of a mean: what is known from few samples says little of the others."""


class Kind(NamedTuple):
    """Passes of one kind that each of M samples took."""

    taken: FloatArray
    """shape (M,)"""
    budget: float
    """the most that one may take"""

    def alive(self, passes: FloatArray) -> FloatArray:
        """The share of the samples that take more than so many."""
        order = np.sort(self.taken)
        return 1.0 - np.searchsorted(order, passes, side="right") / max(len(order), 1)


@dataclass(frozen=True, slots=True)
class Spending:
    """What is known of a cell's passes.

    Attributes:
        steps: forward and backward passes.
        queries: forward passes alone.
        source: where it is known from, for people.
        reports: what the shards took from whose rows it is known.
        known: whether it was observed; else only the budget is known.
        abreast: steps of a sample that may share a pass on a device that fills its batches: restarts, targets.
    """

    steps: Kind
    queries: Kind
    source: str
    reports: tuple[ShardReport, ...] = ()
    known: bool = True
    abreast: float = 1.0

    @property
    def samples(self) -> int:
        """How many it is known from."""
        return len(self.steps.taken) if self.known else 0


def observed(rows: pd.DataFrame, reports: tuple[ShardReport, ...], budget: Passes | None, source: str) -> Spending:
    """From the rows of a cell.

    Args:
        rows: at least one.
        reports: what they took.
        budget: of the attack; ``None`` where it doesn't tell: then the most that was seen.
        source: for people.
    """
    steps = rows["backwards"].to_numpy(dtype=float)
    queries = np.maximum(rows["forwards"].to_numpy(dtype=float) - steps, 0.0)
    most = (0.0, 0.0) if budget is None else (budget.backwards, max(budget.forwards - budget.backwards, 0.0))
    return Spending(
        Kind(steps, max(float(steps.max()), most[0])),
        Kind(queries, max(float(queries.max()), most[1])),
        source,
        reports,
    )


def at_most(budget: Passes) -> Spending:
    """Nothing is known but what the attack may spend."""
    steps, queries = budget.backwards, max(budget.forwards - budget.backwards, 0.0)
    if steps + queries == 0.0:
        return NOTHING
    return Spending(Kind(np.array([steps]), steps), Kind(np.array([queries]), queries), "its budget", known=False)


NOTHING = Spending(Kind(np.zeros(1), 0.0), Kind(np.zeros(1), 0.0), "no attack")
"""Of cells that judge what is there."""


def abreast(attack: Attack, num_classes: int) -> float:
    """How many steps of a sample may share a pass, on average over its stages.

    Args:
        attack: of a cell.
        num_classes: of its dataset.
    """
    stages = [stage for _, stage in attack.stages] if isinstance(attack, Ensemble) else [attack]
    steps, in_a_row = 0.0, 0.0
    for stage in stages:
        if isinstance(stage, SearchAttack):
            budget = stage.passes(num_classes)[1]
            steps, in_a_row = steps + budget, in_a_row + budget / max(stage.runs(num_classes), 1)
    return steps / in_a_row if in_a_row else 1.0


class Weights(NamedTuple):
    """A mixture of samples: those that were observed, those that spend the budget, those that spend as good as nothing."""

    observed: float
    budget: float
    nothing: float


def weights(spending: Spending, samples: int, bound: Bound, each: tuple[float, float]) -> Weights:
    """The mixture that bounds what other samples spend on average.

    The interval is Agresti and Coull's (1998, The American Statistician 52:119), for shares between nothing and the budget
    in the place of successes: half of z^2 samples are added at each end. So many as 32 samples, all of them broken at once,
    don't say that none of 10,000 survives.

    Args:
        spending: what is known.
        samples: how many others there are.
        bound: low, middle or high.
        each: seconds of a step and of a query of one sample, by which the two are added.
    """
    if not spending.known:
        return Weights(0.0, 0.0, 1.0) if bound == "low" else Weights(1.0, 0.0, 0.0)
    if bound == "middle":
        return Weights(1.0, 0.0, 0.0)
    budget = each[0] * spending.steps.budget + each[1] * spending.queries.budget
    if budget == 0.0:
        return Weights(1.0, 0.0, 0.0)
    shares = (each[0] * spending.steps.taken + each[1] * spending.queries.taken) / budget
    mean, n = float(shares.mean()), len(shares) + Z**2
    centre = (shares.sum() + Z**2 / 2) / n
    square = (float((shares**2).sum()) + Z**2 / 2) / n
    reach = Z * math.sqrt(max(square - centre**2, 0.0) * (1 / n + 1 / samples))
    if bound == "high":
        wanted = min(1.0, max(centre + reach, mean))
        more = (wanted - mean) / (1 - mean) if mean < 1 else 0.0
        return Weights(1 - more, more, 0.0)
    wanted = max(0.0, min(centre - reach, mean))
    kept = wanted / mean if mean > 0 else 1.0
    return Weights(kept, 0.0, 1 - kept)
