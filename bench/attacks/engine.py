"""Runs step attacks: per-sample state machines that share batches.

All state is per sample (restart, iteration, best point), so a sample leaves the batch as soon as it is done and the next
one waiting takes its place; samples at different iterations share a pass. Verdicts don't depend on the batch size beyond
the last bits of the kernels.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.attacks.base import Attack, AttackContext, AttackResult, Samples, Target
from bench.attacks.losses import Loss, margin
from bench.attacks.memory import out_of_memory
from bench.errors import AttackError

HAIRLINE = 1e-4
"""A sample leaves the batch when its margin is this far below zero, relative to its largest logit (at least 1)."""


class StepAttack(Attack):
    """An attack that takes gradient steps from a start: the engine does everything else."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Gradient steps of one restart."""

    @property
    def restarts(self) -> int:
        """Independent starts."""
        return 1

    @property
    @abstractmethod
    def loss(self) -> Loss:
        """What it maximises: (logits, y) to losses of shape (N,)."""

    @abstractmethod
    def start(self, samples: Samples, restarts: Tensor, context: AttackContext) -> Tensor:
        """Where each sample starts its restart (shape (N,), int64): points of the threat model, shape (N, C, H, W)."""

    @abstractmethod
    def step(self, x_adv: Tensor, x: Tensor, gradient: Tensor, iteration: Tensor, context: AttackContext) -> Tensor:
        """One step: the next point of each sample, inside the threat model.

        Args:
            x_adv: current points, shape (N, C, H, W).
            x: clean images.
            gradient: of the summed loss at ``x_adv``.
            iteration: steps that each sample has taken in this restart, shape (N,), int64.
            context: the threat model.
        """

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Attacks every sample; see :class:`bench.attacks.base.Attack`."""
        return _Search(self, model, samples, context).run()

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One forward and backward pass for each step, and a last forward pass for each restart."""
        return self.restarts * (self.steps + 1), self.restarts * self.steps


@dataclass(slots=True)
class _Evaluated:
    """One pass over the samples in the batch."""

    loss: Tensor
    adversarial: Tensor
    clear: Tensor
    gradient: Tensor


def ball_start(samples: Samples, restarts: Tensor, context: AttackContext, *, random: bool) -> Tensor:
    """Where an attack may start: a random point of the ball, drawn for each sample and restart, or the clean image.

    Args:
        samples: the samples that start.
        restarts: the restart of each, shape (N,), int64.
        context: threat model and draws.
        random: which of the two.
    """
    if not random:
        return samples.x.clone()
    generators = context.draws.generators(samples.ids, restarts=restarts.tolist())
    return context.threat_model.random_start(samples.x, generators)


class _Search:
    """The state of all samples of one attack run."""

    def __init__(self, attack: StepAttack, model: Target, samples: Samples, context: AttackContext) -> None:
        self.attack, self.model, self.samples, self.context = attack, model, samples, context
        n, device = len(samples), samples.x.device
        self.batch_size = max(1, context.batch_size)
        self.x_adv = samples.x.clone()
        self.best = samples.x.clone()
        self.best_loss = torch.full((n,), -torch.inf, device=device)
        self.broken = torch.zeros(n, dtype=torch.bool, device=device)
        self.iteration = torch.zeros(n, dtype=torch.int64, device=device)
        self.restart = torch.zeros(n, dtype=torch.int64, device=device)
        self.forwards = torch.zeros(n, dtype=torch.int64, device=device)
        self.backwards = torch.zeros(n, dtype=torch.int64, device=device)
        self.waiting = list(range(n))
        self.active = torch.zeros(0, dtype=torch.int64, device=device)

    def run(self) -> AttackResult:
        """Until no sample is left."""
        while True:
            self._refill()
            if not len(self.active):
                break
            try:
                evaluated = self._evaluate(self.active)
            except Exception as error:
                if not out_of_memory(error) or self.batch_size == 1:
                    raise
                self._shrink()
                continue
            self._advance(evaluated)
        steps = (self.restart * self.attack.steps + self.iteration).cpu()
        forwards, backwards = self.forwards.cpu().double(), self.backwards.cpu().double()
        return AttackResult(self.best, steps, forwards, backwards, [""] * len(self.samples))

    def _refill(self) -> None:
        free = self.batch_size - len(self.active)
        if free <= 0 or not self.waiting:
            return
        # A handful of fresh samples beside a half-empty batch costs no more than the batch alone; one at a time would.
        if len(self.active) and free < self.batch_size // 4 and len(self.waiting) > free:
            return
        chosen, self.waiting = self.waiting[:free], self.waiting[free:]
        fresh = torch.tensor(chosen, dtype=torch.int64, device=self.active.device)
        started = self.forwards[fresh] > 0
        self._start(fresh[~started])
        self.active = torch.cat([self.active, fresh])

    def _start(self, indices: Tensor) -> None:
        if len(indices):
            chosen = self.samples.take(indices)
            self.x_adv[indices] = self.attack.start(chosen, self.restart[indices], self.context)

    def _evaluate(self, active: Tensor) -> _Evaluated:
        x_adv, y = self.x_adv[active].requires_grad_(), self.samples.y[active]
        last = self.iteration[active] >= self.attack.steps
        needs_gradient = not bool(last.all())
        with torch.set_grad_enabled(needs_gradient):
            logits = self.model(x_adv)
            loss = self.attack.loss(logits, y)
        if needs_gradient:
            (gradient,) = torch.autograd.grad(loss[~last].sum(), x_adv)
            self.backwards[active[~last]] += 1
        else:
            gradient = torch.zeros_like(x_adv)
        self.forwards[active] += 1
        values = logits.detach()
        if not torch.isfinite(values).all():
            raise AttackError("the model gave logits that aren't finite on a point of the attack")
        above = margin(values, y)
        scale = values.abs().amax(1).clamp_min(1.0)
        return _Evaluated(loss.detach(), above > 0, above > HAIRLINE * scale, gradient)

    def _advance(self, evaluated: _Evaluated) -> None:
        active = self.active
        self._keep_best(active, evaluated)
        ended = self.iteration[active] >= self.attack.steps
        done = ended & (self.restart[active] + 1 >= self.attack.restarts)
        if self.context.search == "first_success":
            done |= evaluated.clear
        going = ~done & ~ended
        moving = active[going]
        if len(moving):
            self.x_adv[moving] = self.attack.step(
                self.x_adv[moving],
                self.samples.x[moving],
                evaluated.gradient[going],
                self.iteration[moving],
                self.context,
            )
            self.iteration[moving] += 1
        again = active[ended & ~done]
        if len(again):
            self.restart[again] += 1
            self.iteration[again] = 0
            self._start(again)
        self.active = active[~done]
        if len(self.active) < len(active):
            finished = len(self.samples) - len(self.active) - len(self.waiting)
            self.context.report(finished, len(self.samples) - int(self.broken.sum()))

    def _keep_best(self, active: Tensor, evaluated: _Evaluated) -> None:
        """An adversarial point beats one that isn't, whatever their losses; then the higher loss wins."""
        was = self.broken[active]
        higher = evaluated.loss > self.best_loss[active]
        better = (evaluated.adversarial & ~was) | ((evaluated.adversarial == was) & higher)
        chosen = active[better]
        self.best[chosen] = self.x_adv[chosen]
        self.best_loss[chosen] = evaluated.loss[better]
        self.broken[active] = was | evaluated.adversarial

    def _shrink(self) -> None:
        """Half the batch goes back to wait; its state stays, so nothing is lost."""
        self.batch_size = max(1, min(self.batch_size, len(self.active)) // 2)
        self.waiting = self.active[self.batch_size :].tolist() + self.waiting
        self.active = self.active[: self.batch_size]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
