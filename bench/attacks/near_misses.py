"""Survivors of a search in a cheaper precision that came close to being broken."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.attacks.base import AttackContext, AttackResult, Samples, Target
from bench.attacks.losses import margin
from bench.attacks.search_attack import SearchAttack


def search_again(
    attack: SearchAttack, model: Target, samples: Samples, context: AttackContext, result: AttackResult, close: Tensor
) -> AttackResult:
    """Searches the samples that came close once more, in float32, and takes what that finds where it is better.

    Args:
        attack: what searched.
        model: the model under attack.
        samples: all its samples, N of them.
        context: of the first search.
        result: what that found; changed in place.
        close: which samples came close, shape (N,), bool.
    """
    rows = close.nonzero().flatten()
    if not len(rows):
        return result
    chosen = samples.take(rows)
    found = attack.run(model, chosen, context.exact())
    before = result.x_adv[rows]
    was, now = (_misclassified(model, x_adv, chosen, context) for x_adv in (before, found.x_adv))
    distance = context.threat_model.distance
    better = now & (~was | (distance(found.x_adv, chosen.x) < distance(before, chosen.x)))
    result.x_adv[rows[better]] = found.x_adv[better]
    cpu = rows.cpu()
    result.iterations[cpu] += found.iterations
    result.forwards[cpu] += found.forwards + 2
    result.backwards[cpu] += found.backwards
    return result


def _misclassified(model: Target, x_adv: Tensor, samples: Samples, context: AttackContext) -> Tensor:
    pieces = zip(torch.split(x_adv, context.batch_size), torch.split(samples.y, context.batch_size), strict=True)
    with torch.no_grad():
        return torch.cat([margin(model(x), y) > 0 for x, y in pieces])
