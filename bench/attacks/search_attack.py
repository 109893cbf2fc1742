"""What an attack on the engine says: where a sample starts, and where it goes next."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.base import Attack, AttackContext, AttackResult, Samples, Target
from bench.attacks.batch import Batch, Seen

Look = Callable[[Tensor], Seen]
"""Evaluates other points of the batch, shape (B, C, H, W), without gradients; successes among them are kept."""


class SearchAttack(Attack):
    """An attack on the engine: where a sample starts, and its next point; the engine does everything else.

    Attributes:
        last_look: whether the point after the last step is evaluated, too.
        uses_gradients: whether a pass needs gradients.
        chooses_targets: whether it needs the classes ranked by clean logit (``Batch.ranking``).
        any_layout: whether its steps under Linf are right and as fast in whichever order the pixels of a batch lie in memory.
        ranked_by: what makes a point of ``strongest`` better than another of its sample: its loss, or its margin where
            the runs of a sample have different losses.
        successes_first: whether, under ``strongest``, an adversarial point is better than any that isn't; else the loss alone
            counts, unless the model is stochastic. That is for parts of an attack: what a whole one gives would hide successes.
    """

    joint: ClassVar[bool] = True
    last_look: ClassVar[bool] = True
    uses_gradients: ClassVar[bool] = True
    chooses_targets: ClassVar[bool] = False
    any_layout: ClassVar[bool] = False
    ranked_by: ClassVar[str] = "loss"
    successes_first: ClassVar[bool] = True

    @property
    @abstractmethod
    def steps(self) -> int:
        """Steps of one run."""

    @property
    def eot_iter(self) -> int:
        """Passes whose losses and gradients are averaged at every point (EOT, Athalye et al. 2018, arXiv:1707.07397)."""
        return 1

    @property
    def confidence(self) -> float:
        """The margin that a kept point of a minimum-norm attack should have (kappa of Carlini & Wagner)."""
        return 0.0

    def rank(self, model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, int]:
        """In which order classes become targets, for attacks that choose them: here by falling clean logit.

        Args:
            model: images to logits.
            x: clean images, shape (B, C, H, W).
            y: labels, shape (B,).

        Returns:
            All classes, the likeliest target first (where the label stands doesn't matter), shape (B, K); and the
            backward passes that it took for each image.
        """
        with torch.no_grad():
            return model(x).argsort(dim=1, descending=True), 0

    def runs(self, num_classes: int) -> int:
        """Runs of each sample, one after another: restarts times targets."""
        return 1

    @abstractmethod
    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """What it maximises, each of shape (B,); several where it needs several gradients at a point."""

    @abstractmethod
    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """Starts a run of each sample: sets ``batch.x_adv`` and every name of ``batch.state``."""

    @abstractmethod
    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """One step of each sample: sets ``batch.x_adv`` and its state anew, given what the pass showed.

        What it needs later belongs in ``batch.state``: rows leave and move between the steps, and with them what is there.
        """

    def guesses(self, context: AttackContext) -> bool:
        """Whether :meth:`guess` knows where a sample goes next that doesn't improve."""
        return False

    def guess(self, batch: Batch, context: AttackContext) -> None:
        """What :meth:`step` does with samples none of whose points since the best one is an improvement: sets ``batch.x_adv``
        and what belongs to it in ``batch.state``, whatever these points were. The best loss is ``batch.state["best_loss"]``.
        """
        raise NotImplementedError

    def there(self, table: Tensor, device: torch.device) -> Tensor:
        """A table of the attack's on a device: it is copied once.

        Args:
            table: a constant on the CPU that the attack keeps.
            device: where it is looked up.
        """
        copies: dict[tuple[int, torch.device], Tensor] = self.__dict__.setdefault("_copies", {})
        key = (id(table), device)
        if key not in copies:
            copies[key] = table.to(device)
        return copies[key]

    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Attacks every sample; see :class:`bench.attacks.base.Attack`."""
        from bench.attacks.engine import search  # the engine knows this class

        return search(self, model, samples, context)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """The passes of every run at its full length."""
        runs, last = self.runs(num_classes), int(self.last_look)
        ranking = int(self.chooses_targets)
        forwards = runs * (self.steps + last) * self.eot_iter + ranking
        return float(forwards), float(runs * self.steps * self.eot_iter * int(self.uses_gradients))


def ball_start(samples: Batch, ids: Sequence[str], context: AttackContext, *, random: bool) -> Tensor:
    """Where an attack may start: a random point of the ball, drawn for each sample and run, or the clean image.

    Args:
        samples: the samples that start.
        ids: their sample ids.
        context: threat model and draws.
        random: which of the two.
    """
    if not random:
        return samples.x.clone()
    return context.threat_model.random_start(samples.x, generators(samples, ids, context))


def generators(samples: Batch, ids: Sequence[str], context: AttackContext) -> list[torch.Generator]:
    """One CPU generator for each sample, its own for every run and stage."""
    return context.draws.generators(ids, stage=context.stage, restarts=samples.run.tolist())
