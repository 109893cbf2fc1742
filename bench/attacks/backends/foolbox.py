"""Attacks of foolbox (Rauber et al. 2020, JOSS 5(53), 2607)."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.attacks.backends.chunk import LibraryAttack
from bench.attacks.base import AttackContext, Samples, Target
from bench.attacks.parameters import CWParams, FGSMParams, PGDParams
from bench.attacks.pgd import step_size
from bench.errors import AttackError


def foolbox() -> Any:  # Any: foolbox has no annotations that mypy sees
    """foolbox, whose import takes scipy's old names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return import_module("foolbox")


def _wrapped(model: Target) -> Any:  # Any: as above
    return foolbox().PyTorchModel(model, bounds=(0, 1), device=next(iter(_parameters(model)), torch.zeros(0)).device)


def _parameters(model: Any) -> Any:  # Any: a module
    return model.parameters()


class FoolboxFGSM(LibraryAttack):
    """``LinfFastGradientAttack`` or ``L2FastGradientAttack``."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    library: ClassVar[tuple[str, ...]] = ("foolbox",)
    params: FGSMParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Tensor:
        """One step of foolbox's fast gradient attack."""
        library = foolbox()
        if self.params.alpha is not None or self.params.loss != "ce":
            raise AttackError("fgsm: backend foolbox has no alpha and no other loss than ce; use backend bench")
        kinds = {"linf": library.attacks.LinfFastGradientAttack, "l2": library.attacks.L2FastGradientAttack}
        attack = kinds[context.threat_model.norm](random_start=self.params.random_start)
        x_adv: Tensor = attack.run(_wrapped(model), samples.x, samples.y, epsilon=context.threat_model.radius)
        return x_adv

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One of each."""
        return 1.0, 1.0


class FoolboxPGD(LibraryAttack):
    """``LinfProjectedGradientDescentAttack`` or ``L2ProjectedGradientDescentAttack``."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    library: ClassVar[tuple[str, ...]] = ("foolbox",)
    params: PGDParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Tensor:
        """Foolbox's PGD; a later restart takes the place of an earlier one where that one failed."""
        library = foolbox()
        if self.params.loss != "ce" or self.params.step_rule != "constant":
            raise AttackError("pgd: backend foolbox has only loss ce and step_rule constant; use backend bench")
        kinds = {
            "linf": library.attacks.LinfProjectedGradientDescentAttack,
            "l2": library.attacks.L2ProjectedGradientDescentAttack,
        }
        radius = context.threat_model.radius
        attack = kinds[context.threat_model.norm](
            abs_stepsize=step_size(self.params, radius), steps=self.params.steps, random_start=self.params.random_start
        )
        wrapped, points = _wrapped(model), samples.x.clone()
        for _ in range(self.params.restarts):
            found = attack.run(wrapped, samples.x, samples.y, epsilon=radius)
            with torch.no_grad():
                failed = model(points).argmax(1) == samples.y
            points[failed] = found[failed]
        return points

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One of each for a step, and a forward pass to compare restarts."""
        return self.params.restarts * (self.params.steps + 1.0), float(self.params.restarts * self.params.steps)


class FoolboxCW(LibraryAttack):
    """``L2CarliniWagnerAttack``: minimum-norm."""

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    library: ClassVar[tuple[str, ...]] = ("foolbox",)
    minimum_norm: ClassVar[bool] = True
    params: CWParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Tensor:
        """Foolbox's search; a black image where it found nothing, which lies far beyond any eps that matters."""
        library = foolbox()
        attack = library.attacks.L2CarliniWagnerAttack(
            binary_search_steps=self.params.binary_search_steps,
            steps=self.params.steps,
            stepsize=self.params.stepsize,
            confidence=self.params.confidence,
            initial_const=self.params.initial_const,
            abort_early=self.params.abort_early,
        )
        x_adv: Tensor = attack.run(_wrapped(model), samples.x, samples.y)
        return x_adv

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One of each for a step of each binary search step."""
        total = float(self.params.binary_search_steps * self.params.steps)
        return total, total
