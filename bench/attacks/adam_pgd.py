"""PGD with Adam's steps: every pixel moves in proportion to its own gradient, not by its sign.

Uesato et al. 2018, Adversarial Risk and the Dangers of Evaluating Against Weak Attacks, arXiv:1802.05666, with the optimizer
of Kingma & Ba 2015, Adam: A Method for Stochastic Optimization, arXiv:1412.6980. Signed steps change every pixel by as
much, which is what detectors that look at pixels were trained on; steps of unequal size get past some of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from bench.attacks.base import AttackContext
from bench.attacks.batch import Batch, Seen, per_image
from bench.attacks.parameters import AdamPGDParams, PGDParams
from bench.attacks.pgd import PGD, projected
from bench.attacks.search_attack import Look

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's, as in its paper."""
FINAL = 0.1
"""The step size falls in a straight line to this share of it."""


class AdamPGD(PGD):
    """Projected Adam on the margin from the clean image; gradients are scaled to L2 norm 1 first.

    Linf only: at the boundary of an L2 ball steps of about the same size in every pixel are not the steepest.

    Args:
        params: the number of steps, their size, the loss and the starts; every start but the first is a random point.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf",)
    backends: ClassVar[dict[str, str]] = {}

    def __init__(self, params: AdamPGDParams) -> None:
        super().__init__(PGDParams(steps=params.steps, restarts=params.restarts, loss=params.loss))
        self.rate = params.rate

    def begin(self, batch: Batch, ids: Sequence[str], context: AttackContext) -> None:
        """The clean image, later a random point of the ball, without moments."""
        super().begin(batch, ids, context)
        batch.x_adv = torch.where(per_image(batch.run == 0), batch.x, batch.x_adv)
        batch.state["first"] = torch.zeros_like(batch.x)
        batch.state["second"] = torch.zeros_like(batch.x)

    def step(self, batch: Batch, seen: Seen, look: Look, context: AttackContext) -> None:
        """Adam's step of ``rate * eps``, falling, projected."""
        state = batch.state
        largest = seen.gradient.abs().amax((1, 2, 3), keepdim=True)  # a tiny gradient has a length that rounds to zero
        gradient = seen.gradient / torch.where(largest > 0, largest, torch.ones_like(largest))
        length = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        gradient = gradient / per_image(length.clamp_min(1.0))
        state["first"] = torch.lerp(gradient, state["first"], BETA_1)
        state["second"] = torch.lerp(gradient.square(), state["second"], BETA_2)
        t = per_image((batch.iteration + 1).to(gradient.dtype))
        size = self.rate * context.threat_model.radius * (1 - (1 - FINAL) * t / self.steps)
        mean, spread = state["first"] / (1 - BETA_1**t), (state["second"] / (1 - BETA_2**t)).sqrt()
        batch.x_adv = projected(batch.x_adv + size * mean / (spread + EPSILON), batch, context)
