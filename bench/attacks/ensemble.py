"""Ensembles: a sequence of attacks, each on what the earlier ones left robust."""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.base import Attack, AttackContext, AttackResult, Samples, Target
from bench.attacks.checked import share_broken
from bench.store.parts import StageCost

STAGES = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}
"""Of AutoAttack's versions (Croce & Hein 2020, arXiv:2003.01690)."""


class Ensemble(Attack):
    """Attacks one after the other; a sample leaves with the first that breaks it, of a stochastic model in every draw."""

    joint: ClassVar[bool] = True

    @property
    @abstractmethod
    def stages(self) -> tuple[tuple[str, Attack], ...]:
        """The attacks with their names, in order."""

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Runs the stages; see :class:`bench.attacks.base.Attack`.

        Under ``strongest`` the first stage spends its whole budget on every sample and keeps the point of highest loss;
        the later ones look for successes where it found none.
        """
        result = AttackResult.untouched(samples)
        result.zero_gradient = torch.ones(len(samples), dtype=torch.bool)
        alive = torch.arange(len(samples), device=samples.x.device)
        best = torch.zeros(len(samples), device=samples.x.device)
        costs: list[StageCost] = []
        for name, attack in self.stages:
            if not len(alive):
                break
            started, chosen = time.perf_counter(), samples.take(alive)
            found = attack.run(model, chosen, _stage_context(context, name, len(samples), len(alive), first=not costs))
            share = share_broken(model, found.x_adv, chosen, context, minimum_norm=attack.minimum_norm)
            before, best[alive] = best[alive], torch.maximum(best[alive], share)
            everything = not costs and context.search == "strongest"
            _take(result, found, alive, (share > before) | everything, share > before, name)
            broken = (share > 0.5) & (before <= 0.5)
            costs.append(
                StageCost(
                    name=name,
                    attacked=len(alive),
                    broken=int(broken.sum()),
                    seconds=time.perf_counter() - started,
                )
            )
            alive = alive[best[alive] < 1]
        result.stages = tuple(costs)
        if any(name == "square" for name, _ in self.stages):
            result.zero_gradient = None  # they were attacked without gradients
        return result

    def precisions(self, asked: str, device: torch.device) -> tuple[str, ...]:
        """Those of its stages."""
        return tuple(sorted({one for _, attack in self.stages for one in attack.precisions(asked, device)}))

    def passes(self, num_classes: int) -> tuple[float, float]:
        """Each stage at its budget."""
        costs = [attack.passes(num_classes) for _, attack in self.stages]
        return sum(forwards for forwards, _ in costs), sum(backwards for _, backwards in costs)


def _stage_context(context: AttackContext, name: str, total: int, alive: int, *, first: bool) -> AttackContext:
    def report(finished: int, robust: int, stage: str = "") -> None:
        context.report(total - alive + min(finished, alive - robust), robust, stage or name)

    search = context.search if first else "first_success"
    return replace(context, stage=name, search=search, report=report)


def _take(result: AttackResult, found: AttackResult, alive: Tensor, chosen: Tensor, broken: Tensor, name: str) -> None:
    """Adds what a stage found to what the ensemble has.

    Args:
        result: of the ensemble, changed in place.
        found: of the stage.
        alive: places of the samples that the stage attacked.
        chosen: whose points are taken.
        broken: whose points broke more draws than any before.
        name: of the stage.
    """
    result.x_adv[alive[chosen]] = found.x_adv[chosen]
    places = alive.cpu()
    result.iterations[places] += found.iterations
    result.forwards[places] += found.forwards + 1
    result.backwards[places] += found.backwards
    for place in alive[broken].tolist():
        result.stage[place] = name
    if found.eot_agreement is not None and result.eot_agreement is None:
        result.eot_agreement = torch.full((len(result.iterations),), torch.nan)
        result.eot_agreement[places] = found.eot_agreement
    if result.zero_gradient is not None and found.zero_gradient is not None:
        result.zero_gradient[places] &= found.zero_gradient
