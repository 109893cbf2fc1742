"""APGD under L1: sparse steps whose sparsity and size adapt, in balls that shrink to eps.

Croce & Hein 2021, Mind the box: l1-APGD for sparse adversarial attacks on image classifiers, arXiv:2103.01208, algorithm 1
and section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.base import Attack, AttackContext, AttackResult, Samples, Target
from bench.attacks.batch import Batch, Seen, per_image, without_label
from bench.attacks.checked import logits_of, share_broken
from bench.attacks.losses import LOSSES, margin, target_margin, targeted_dlr
from bench.attacks.parameters import APGDParams, TargetedAPGDParams
from bench.attacks.search_attack import Look, SearchAttack

RADII = (3, 2, 1)
"""The radii of a run's phases, in eps; the first two take three tenths of the steps each (section 3.3)."""
DENSITY = 0.2
"""Share of the pixels along which the first step of a run goes."""
CHECK_EVERY = 0.04
"""Share of a phase's steps between its checkpoints."""
SHRINK = 1.5
"""Divides the number of changed pixels of the best point to give that of a step, and the step size where that is steady."""
STEADY = 0.95
"""The best point's sparsity is steady where at least this share of its changed pixels is left since the last checkpoint."""
SMALLEST = 10
"""Divides the radius to give the smallest step size."""


class L1APGD(Attack):
    """Runs one after another, each of three phases: what one finds in a larger ball, the next starts from in a smaller.

    A phase is a search of its own on the engine; only the last one, in the ball of eps, can succeed.
    """

    norms: ClassVar[tuple[str, ...]] = ("l1",)
    joint: ClassVar[bool] = True
    revision: ClassVar[int] = 2
    params: APGDParams | TargetedAPGDParams

    def runs(self, num_classes: int) -> int:
        """Independent starts."""
        return self.params.restarts

    def phases(self) -> tuple[tuple[int, int], ...]:
        """Radius in eps and steps of each phase; with fewer than three steps there is only the last."""
        steps = self.params.steps
        if steps < len(RADII):
            return ((1, steps),)
        early = -(-3 * steps // 10)
        return tuple(zip(RADII, (early, early, steps - 2 * early), strict=True))

    def losses(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy, DLR or margin."""
        return LOSSES[self.params.loss](logits, y)

    def score(self, logits: Tensor, y: Tensor) -> Tensor:
        """What makes a point of ``strongest`` better than those of other runs: the loss."""
        return LOSSES[self.params.loss](logits, y)

    def targets(self, model: Target, samples: Samples, context: AttackContext) -> Tensor | None:
        """The classes to reach, shape (N, targets); none here."""
        return None

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Attacks every sample; see :class:`bench.attacks.base.Attack`."""
        outcome = _Outcome(AttackResult.untouched(samples), torch.full((len(samples),), -torch.inf))
        outcome.result.zero_gradient = torch.ones(len(samples), dtype=torch.bool)
        targets = self.targets(model, samples, context) if len(samples) else None
        if targets is not None:
            outcome.result.forwards += 1
        broken = torch.zeros(len(samples), dtype=torch.bool, device=samples.x.device)
        for number in range(self.runs(model.num_classes)):
            alive = (~broken if context.search == "first_success" else torch.ones_like(broken)).nonzero().flatten()
            if not len(alive):
                break
            chosen = samples.take(alive)
            target = chosen.y if targets is None else targets[alive, number // self.params.restarts]
            found = self._one_run(model, chosen, target, number, _quiet(context, broken))
            logits = logits_of(model, found.x_adv, chosen.y, context.batch_size)
            now = margin(logits, chosen.y) > 0
            if model.stochastic or model.approximate:
                now = share_broken(model, found.x_adv, chosen, context, minimum_norm=False) > 0.5
            outcome.add(found, alive, now, broken[alive], self.score(logits, chosen.y), context.search)
            broken[alive] |= now
            context.report(int(broken.sum()), int((~broken).sum()))
        context.report(len(samples), int((~broken).sum()))
        return outcome.result

    def _one_run(
        self, model: Target, samples: Samples, target: Tensor, number: int, context: AttackContext
    ) -> AttackResult:
        """The phases of one run, from a random start."""
        ball, starts, total = context.threat_model, None, AttackResult.untouched(samples)
        still = torch.ones(len(samples), dtype=torch.bool)
        for factor, steps in self.phases():
            givens = _Givens(samples.ids, number, target, starts)
            if factor > 1:  # whatever is broken there, the search goes on from the point of the highest loss
                larger = replace(context, threat_model=replace(ball, eps=factor * ball.eps), search="strongest")
                found = _EarlyPhase(self, steps, givens).run(model, samples, larger)
            else:
                found = _Phase(self, steps, givens).run(model, samples, context)
            total.x_adv = starts = found.x_adv
            total.iterations += found.iterations
            total.forwards += found.forwards
            total.backwards += found.backwards
            if total.eot_agreement is None:
                total.eot_agreement = found.eot_agreement
            if found.zero_gradient is not None:
                still &= found.zero_gradient
        total.zero_gradient = still
        return total

    def passes(self, num_classes: int) -> tuple[float, float]:
        """A start and its steps in each phase of each run, and a look at what the run found."""
        runs, phases = self.runs(num_classes), len(self.phases())
        forwards, backwards = self.params.steps + phases, self.params.steps
        return float(runs * (forwards * self.params.eot_iter + 1)), float(runs * backwards * self.params.eot_iter)


class TargetedL1APGD(L1APGD):
    """The same towards one class after the other."""

    params: TargetedAPGDParams

    def runs(self, num_classes: int) -> int:
        """Targets times starts."""
        return min(self.params.n_target_classes, num_classes - 1) * self.params.restarts

    def losses(self, logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
        """Targeted DLR or margin."""
        function = targeted_dlr if self.params.loss == "dlr" else target_margin
        return function(logits, y, target)

    def score(self, logits: Tensor, y: Tensor) -> Tensor:
        """The margin, since every target has a loss of its own."""
        return margin(logits, y)

    def targets(self, model: Target, samples: Samples, context: AttackContext) -> Tensor:
        """All classes but the label by falling clean logit, shape (N, K - 1)."""
        ranking = logits_of(model, samples.x, samples.y, context.batch_size).argsort(dim=1, descending=True)
        return without_label(ranking, samples.y)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """Those of the runs, and one forward pass for the targets."""
        forwards, backwards = super().passes(num_classes)
        return forwards + 1, backwards


@dataclass(frozen=True, slots=True)
class _Givens:
    """What the samples of a phase start with.

    Attributes:
        ids: sample ids, in the order of the rest.
        number: of the run.
        target: classes to reach, shape (N,); the labels where there are none.
        starts: where the phase before ended, shape (N, C, H, W); ``None`` for a random start.
    """

    ids: tuple[str, ...]
    number: int
    target: Tensor
    starts: Tensor | None


class _Phase(SearchAttack):
    """Algorithm 1 in one ball, of all samples or some of those whose givens it has."""

    norms: ClassVar[tuple[str, ...]] = ("l1",)

    def __init__(self, attack: L1APGD, steps: int, givens: _Givens) -> None:
        super().__init__(attack.params)
        self.attack, self.length, self.givens = attack, steps, givens
        self.rows = {sample: row for row, sample in enumerate(givens.ids)}
        self.window = max(int(CHECK_EVERY * steps), 1)

    @property
    def steps(self) -> int:
        """Gradient steps."""
        return self.length

    @property
    def eot_iter(self) -> int:
        """Gradients averaged at every point."""
        return int(self.params.eot_iter)

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """Of the attack."""
        return (self.attack.losses(logits, batch.y, batch.state["target"]),)

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The end of the phase before, or Gaussian noise, inside the ball and the bounds."""
        rows = torch.tensor([self.rows[sample] for sample in ids], dtype=torch.int64, device=batch.x.device)
        if self.givens.starts is None:
            draws = context.draws.generators(ids, stage=context.stage, restarts=[self.givens.number] * len(ids))
            noise = [torch.randn(batch.x.shape[1:], generator=generator) for generator in draws]
            start = batch.x + torch.stack(noise).to(batch.x) if noise else batch.x
        else:
            start = self.givens.starts[rows]
        batch.x_adv = context.threat_model.project(start, batch.x)
        changed = _changed(batch.x_adv, batch.x)
        density = changed / SHRINK
        if self.givens.starts is None:  # the few pixels of projected noise don't say how many a step should change
            changed = torch.full_like(changed, math.prod(batch.x.shape[1:]))
            density = DENSITY * changed
        batch.state = {
            "target": self.givens.target[rows],
            "best": batch.x_adv,
            "gradient": torch.zeros_like(batch.x),
            "best_loss": torch.full_like(changed, -torch.inf),
            "changed": changed,
            "density": density,
            "size": torch.full_like(changed, context.threat_model.radius),
        }

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """Keeps the best point, adapts sparsity and size at checkpoints, and moves on."""
        state = batch.state
        better = (seen.loss > state["best_loss"]) | (batch.iteration == 0)
        mask = per_image(better)
        state["best"] = torch.where(mask, batch.x_adv, state["best"])
        state["gradient"] = torch.where(mask, seen.gradient, state["gradient"])
        state["best_loss"] = torch.where(better, seen.loss, state["best_loss"])
        x_adv, gradient = self._check(batch, seen.gradient, context.threat_model.radius)
        move = sparse_sign(gradient, state["density"]).mul_(per_image(state["size"]))
        batch.x_adv = context.threat_model.project(move.add_(x_adv), batch.x)

    def _check(self, batch: Batch, gradient: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """Where a sample is at a checkpoint: where each goes on, and with which gradient."""
        state = batch.state
        here = (batch.iteration > 0) & (batch.iteration % self.window == 0)
        if not bool(here.any()):
            return batch.x_adv, gradient
        changed = _changed(state["best"], batch.x)
        sparser = here & (changed < STEADY * state["changed"])
        size = torch.where(sparser, radius, (state["size"] / SHRINK).clamp(radius / SMALLEST, radius))
        state["size"] = torch.where(here, size, state["size"])
        state["density"] = torch.where(here, changed / SHRINK, state["density"])
        state["changed"] = torch.where(here, changed, state["changed"])
        mask = per_image(sparser)
        return torch.where(mask, state["best"], batch.x_adv), torch.where(mask, state["gradient"], gradient)


class _EarlyPhase(_Phase):
    """In a larger ball, where no success counts."""

    successes_first: ClassVar[bool] = False


@dataclass(slots=True)
class _Outcome:
    """What the runs so far found, and the score of each sample's point on the CPU."""

    result: AttackResult
    score: Tensor

    def add(self, found: AttackResult, alive: Tensor, now: Tensor, was: Tensor, score: Tensor, search: str) -> None:
        """Adds a run: its points where they are better, its cost everywhere.

        Under ``first_success`` only samples without success run, and the last point stands; under ``strongest`` one that
        is adversarial beats one that isn't, then the score decides.
        """
        rows, result, score = alive.cpu(), self.result, score.double().cpu()
        better = torch.ones_like(now)
        if search == "strongest":
            better = (now & ~was) | ((now == was) & (score > self.score[rows]).to(now.device))
        result.x_adv[alive[better]] = found.x_adv[better]
        self.score[rows[better.cpu()]] = score[better.cpu()].to(self.score.dtype)
        result.iterations[rows] += found.iterations
        result.forwards[rows] += found.forwards + 1
        result.backwards[rows] += found.backwards
        if found.eot_agreement is not None and result.eot_agreement is None:
            result.eot_agreement = torch.full((len(result.iterations),), torch.nan)
            result.eot_agreement[rows] = found.eot_agreement
        if result.zero_gradient is not None and found.zero_gradient is not None:
            result.zero_gradient[rows] &= found.zero_gradient


def sparse_sign(gradient: Tensor, count: Tensor) -> Tensor:
    """A step of unit L1 length along the largest entries of a gradient, equal in size.

    Args:
        gradient: shape (B, C, H, W), B at least 1.
        count: how many entries each step has, at least 1, shape (B,); entries as large as the smallest of them join.

    Returns:
        Shape (B, C, H, W); zero where the gradient is zero.
    """
    sizes = gradient.flatten(1).abs()
    chosen = count.ceil().long().clamp(1, sizes.shape[1])
    largest = sizes.topk(int(chosen.max()), dim=1).values
    smallest = largest.gather(1, (chosen - 1)[:, None])
    signs = gradient.flatten(1).sign() * (sizes >= smallest)
    return (signs / signs.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def _changed(x_adv: Tensor, x: Tensor) -> Tensor:
    """The number of changed entries, shape (B,)."""
    return (x_adv != x).flatten(1).sum(1).to(x.dtype)


def _quiet(context: AttackContext, broken: Tensor) -> AttackContext:
    """A phase doesn't know what the runs have finished, but whoever listens may stop it."""
    done, robust = int(broken.sum()), int((~broken).sum())
    return replace(context, report=lambda finished, left, stage="": context.report(done, robust, stage))
