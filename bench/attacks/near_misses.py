"""Survivors of a search in a cheaper precision that came close to being broken."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from bench.attacks.base import AttackContext, AttackResult, Samples, Target
from bench.attacks.checked import margins
from bench.attacks.search_attack import SearchAttack


def search_again(
    attack: SearchAttack,
    model: Target,
    samples: Samples,
    context: AttackContext,
    result: AttackResult,
    close: Tensor,
    *,
    survivors: int,
) -> AttackResult:
    """Searches the samples that came close once more, in a precision near float32's, and takes what is better.

    Args:
        attack: what searched.
        model: the model under attack.
        samples: all its samples, N of them.
        context: of the first search.
        result: what that found; changed in place.
        close: which samples came close, shape (N,), bool: survivors all.
        survivors: how many the first search left.
    """
    rows = close.nonzero().flatten()
    if not len(rows):
        return result
    chosen = samples.take(rows)

    def report(finished: int, robust: int, stage: str = "") -> None:
        context.report(len(samples) - len(rows) + finished, survivors - len(rows) + robust, stage)

    found = attack.run(model, chosen, replace(context.closer(samples.x.device), report=report))
    before = result.x_adv[rows]
    # Of a stochastic model the shares of draws: one draw would put a worse point in the place of a better one.
    was, now = (
        (margins(model, x_adv, chosen, context, batch_size=context.batch_size) > 0).float().mean(0)
        for x_adv in (before, found.x_adv)
    )
    distance = context.threat_model.distance
    nearer = distance(found.x_adv, chosen.x) < distance(before, chosen.x)
    better = (now > was) | ((now == was) & (now > 0) & nearer)
    result.x_adv[rows[better]] = found.x_adv[better]
    cpu = rows.cpu()
    result.iterations[cpu] += found.iterations
    result.forwards[cpu] += found.forwards + 2 * model.verifying_draws
    if result.queries is not None and found.queries is not None:
        result.queries[cpu] += found.queries + 2 * model.verifying_draws
    result.backwards[cpu] += found.backwards
    return result
