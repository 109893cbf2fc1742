"""Adversarial training with any attack that a suite may name (Madry et al. 2018, arXiv:1706.06083, with another attack)."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import attacks, threat_models
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.models.wrapper import CountedModel
from bench.training.method import Outcome, Step, TrainingMethod
from bench.training.method_parameters import AttackParams


class Attack(TrainingMethod):
    """Minimises the cross-entropy on the examples that an attack finds, ours or a library's.

    The attack sees the model in evaluation mode. Unless it says ``search: first_success`` it spends its whole budget
    and gives the point of highest loss. Points of minimum-norm attacks beyond eps are projected into the ball.
    """

    def __init__(self, params: AttackParams) -> None:
        self.params = params
        self._attack = attacks.build(params.attack, params.norm)
        self._num_classes = 0

    def examples(self, model: nn.Module, x: Tensor, y: Tensor, *, step: Step) -> Tensor:
        """The points that the attack finds, inside the threat model."""
        ball = threat_models.build(self.params.norm, self.params.eps * Fraction(step.strength))
        # Attacks draw by sample id: another one for every image of every step.
        ids = tuple(f"{number:.17f}" for number in step.draws.uniform().double().tolist())
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        counted = CountedModel(model, num_classes=self._classes(model.eval(), x))
        try:
            context = AttackContext(
                ball,
                Draws(0, self.params.attack.name),
                search=self.params.attack.search or "strongest",
                batch_size=len(x),
            )
            found = self._attack.run(counted, Samples(x, y, ids), context).x_adv
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
            model.train()
        return ball.project(found.to(x), x).detach()

    def loss(self, model: nn.Module, x: Tensor, x_adv: Tensor, y: Tensor, *, step: Step) -> Outcome:
        """The cross-entropy on the attack's points."""
        logits = model(x_adv)
        return Outcome(F.cross_entropy(logits, y, label_smoothing=step.label_smoothing), logits)

    def _classes(self, model: nn.Module, x: Tensor) -> int:
        """How many logits the network gives."""
        if not self._num_classes:
            with torch.no_grad():
                self._num_classes = model(x[:1]).shape[1]
        return self._num_classes
