"""Samples that a smaller eps broke already: their points are judged again, and only the others are attacked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from bench.attacks.base import AttackResult
from bench.runner.judge import Verdict
from bench.store.parts import Examples
from bench.store.records import SMALLER_EPS
from bench.threat_models.base import ThreatModel

Judged: TypeAlias = Callable[[Tensor, Tensor], Verdict]
"""The verdicts on points, shape (M, C, H, W), of the samples in rows of the shard, shape (M,), int64, on the CPU."""


class Carried(NamedTuple):
    """What a shard need not attack."""

    rows: Tensor
    """which samples of the shard, shape (N,), bool, on the CPU"""
    verdict: Verdict | None
    """of those samples alone, in their order; ``None`` where there are none"""

    @classmethod
    def nothing(cls, n: int) -> Carried:
        """All N samples are left to the attack."""
        return cls(torch.zeros(n, dtype=torch.bool), None)

    def with_rest(self, found: AttackResult, judged: Judged) -> Verdict:
        """The verdicts of the whole shard. No sample is judged twice, so none can change sides without being attacked.

        Args:
            found: what the attack found for the whole shard; gets the points that it was spared, and their stage.
            judged: the judge.
        """
        if self.verdict is None:
            return judged(found.x_adv, torch.arange(len(self.rows)))
        found.x_adv[self.rows.to(found.x_adv.device)] = self.verdict.x_adv.to(found.x_adv)
        for row in self.rows.nonzero().flatten().tolist():
            found.stage[row] = SMALLER_EPS
        rest = (~self.rows).nonzero().flatten()
        merged: Verdict = _each(self._merged, self.verdict, judged(found.x_adv[rest.to(found.x_adv.device)], rest))
        return merged

    def _merged(self, here: Tensor, rest: Tensor) -> Tensor:
        rows = self.rows.to(rest.device)
        whole = rest.new_empty((len(rows), *rest.shape[1:]))
        whole[rows], whole[~rows] = here, rest
        return whole


def judged_again(
    judged: Judged,
    examples: Examples | None,
    x: Tensor,
    y: Tensor,
    ids: tuple[str, ...],
    correct: Tensor,
    threat_model: ThreatModel,
) -> Carried:
    """Judges the successes of a smaller eps at this one; what is no success here is left to the attack.

    Args:
        judged: the judge.
        examples: the successes of the smaller eps; ``None`` where the cell builds on none.
        x: clean images, shape (N, C, H, W).
        y: labels, shape (N,).
        ids: N sample ids.
        correct: whether the clean image is classified correctly, shape (N,), bool, on the CPU.
        threat_model: the larger ball.
    """
    nothing = Carried.nothing(len(ids))
    if examples is None or examples.images.shape[1:] != x.shape[1:]:
        return nothing
    places = {sample: place for place, sample in enumerate(examples.sample_ids)}
    rows = torch.tensor([row for row, sample in enumerate(ids) if sample in places and correct[row]], dtype=torch.int64)
    images = examples.images[[places[ids[row]] for row in rows.tolist()]]
    points = torch.from_numpy(np.ascontiguousarray(images)).to(x)
    inside = torch.isfinite(points.flatten(1)).all(1) & threat_model.contains(points, x[rows.to(x.device)])
    rows, points = rows[inside.cpu()], points[inside]
    if not len(rows):
        return nothing
    verdict = judged(points, rows)
    broken = verdict.prediction.fooled
    if not broken.any():
        return nothing
    nothing.rows[rows[broken]] = True
    return Carried(nothing.rows, _each(lambda column: column[broken.to(column.device)], verdict))


def _each(change: Callable[..., Tensor], *parts: Any) -> Any:  # Any: tensors, or named tuples of them
    """The same named tuple with every tensor changed."""
    if isinstance(parts[0], Tensor):
        return change(*parts)
    return type(parts[0])(*(_each(change, *fields) for fields in zip(*parts, strict=True)))
