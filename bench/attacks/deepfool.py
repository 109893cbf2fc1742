"""DeepFool.

Moosavi-Dezfooli et al. 2016, DeepFool: a simple and accurate method to fool deep neural networks, arXiv:1511.04599.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen, per_image, without_label
from bench.attacks.minimum_norm import SURE, MinimumNormAttack, leave, lengths, line_passes
from bench.attacks.parameters import DeepFoolParams
from bench.attacks.search_attack import Look

DUAL = {"linf": 1, "l2": 2}
"""Order of the norm that measures gradients, q of equation 10."""
_SMALLEST = 2 * SURE
"""A logit difference counts as at least this, relative to the largest logit, so that no step stops on the boundary."""


class DeepFool(MinimumNormAttack):
    """Steps to the nearest of the linearised boundaries until the class changes; a sample leaves at its first sure success."""

    norms: ClassVar[tuple[str, ...]] = tuple(DUAL)
    chooses_targets: ClassVar[bool] = True
    revision: ClassVar[int] = 2
    params: DeepFoolParams

    @property
    def steps(self) -> int:
        """The most linearisations."""
        return self.params.steps

    def losses(self, logits: Tensor, batch: Batch) -> tuple[Tensor, ...]:
        """The logit of each candidate minus the label's, above 0 where it has overtaken."""
        rivals = batch.state["rivals"]
        return tuple((logits.gather(1, rivals) - logits.gather(1, batch.y[:, None])).unbind(1))

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image, and the classes of largest logits beside the label's."""
        assert batch.ranking is not None  # the engine ranks for attacks that choose targets
        batch.state["rivals"] = without_label(batch.ranking, batch.y)[:, : self.params.candidates - 1]
        batch.state["r"] = torch.zeros_like(batch.x)
        batch.x_adv = batch.x.clone()

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """Algorithm 2: the smallest step to a linearised boundary, added to the others with the overshoot."""
        dual, scale = DUAL[context.threat_model.norm], seen.logits.abs().amax(1).clamp_min(1.0)
        smallest = _SMALLEST * scale
        nearest, steepness = torch.full_like(seen.margin, torch.inf), torch.zeros_like(seen.margin)
        gradient = torch.zeros_like(batch.x)
        for difference, towards in zip(seen.losses, seen.gradients, strict=True):
            length = lengths(towards, dual)
            distance = torch.maximum(difference.abs(), smallest) / length
            nearer = (length > 0) & (distance < nearest)
            nearest, steepness = torch.where(nearer, distance, nearest), torch.where(nearer, length, steepness)
            gradient = torch.where(per_image(nearer), towards, gradient)
        move = gradient.sign() if dual == 1 else gradient / per_image(torch.where(steepness > 0, steepness, 1.0))
        batch.state["r"] = batch.state["r"] + per_image(torch.where(steepness > 0, nearest, 0.0)) * move
        moved = batch.x + (1 + self.params.overshoot) * batch.state["r"]
        batch.x_adv = moved.clamp(*context.threat_model.bounds)
        leave(batch, self, seen.margin > SURE * scale)  # another batch shape could turn a smaller one around

    def passes(self, num_classes: int) -> tuple[float, float]:
        """A forward pass and a backward pass for each candidate but the label in every step."""
        rivals = min(self.params.candidates, num_classes) - 1
        return float(self.steps + 2 + line_passes(self.params)), float(self.steps * rivals)
