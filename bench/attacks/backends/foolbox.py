"""Attacks of foolbox (Rauber et al. 2020, JOSS 5(53), 2607)."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.attacks.backends.chunk import Found, LibraryAttack
from bench.attacks.base import AttackContext, Samples, Target
from bench.attacks.parameters import CWParams, FGSMParams, PGDParams
from bench.attacks.pgd import step_size
from bench.errors import AttackError


def foolbox() -> Any:  # Any: foolbox has no annotations that mypy sees
    """foolbox, whose import takes scipy's old names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return import_module("foolbox")


def called(attack: Any, model: Any, samples: Samples, *, eps: float | None) -> Found:  # Any: as above
    """The points of an attack of foolbox, and which of them it calls a success: it asks the model about them once more.

    Args:
        attack: of foolbox.
        model: as foolbox wraps it.
        samples: what is attacked.
        eps: the radius; ``None`` for an attack that looks for the smallest perturbation, wherever that lies.

    Raises:
        AttackError: where it doesn't say of each sample whether it succeeded.
    """
    x_adv, _, success = attack(model, samples.x, samples.y, epsilons=eps)
    if not isinstance(success, Tensor) or success.shape != (len(samples),):
        told = tuple(success.shape) if isinstance(success, Tensor) else type(success).__name__
        raise AttackError(f"foolbox told the success of {len(samples)} samples as {told}")
    return Found(x_adv, success)


def _wrapped(model: Target) -> Any:  # Any: as above
    return foolbox().PyTorchModel(model, bounds=(0, 1), device=next(iter(_parameters(model)), torch.zeros(0)).device)


def _parameters(model: Any) -> Any:  # Any: a module
    return model.parameters()


class FoolboxFGSM(LibraryAttack):
    """``LinfFastGradientAttack`` or ``L2FastGradientAttack``."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    library: ClassVar[tuple[str, ...]] = ("foolbox",)
    params: FGSMParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Found:
        """One step of foolbox's fast gradient attack."""
        library = foolbox()
        if self.params.alpha is not None or self.params.loss != "ce":
            raise AttackError("fgsm: backend foolbox has no alpha and no other loss than ce; use backend bench")
        kinds = {"linf": library.attacks.LinfFastGradientAttack, "l2": library.attacks.L2FastGradientAttack}
        attack = kinds[context.threat_model.norm](random_start=self.params.random_start)
        return called(attack, _wrapped(model), samples, eps=context.threat_model.radius)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One of each, and a forward pass to see what came of it."""
        return 2.0, 1.0


class FoolboxPGD(LibraryAttack):
    """``LinfProjectedGradientDescentAttack`` or ``L2ProjectedGradientDescentAttack``."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    library: ClassVar[tuple[str, ...]] = ("foolbox",)
    params: PGDParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Found:
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
        wrapped = _wrapped(model)
        points, claimed = called(attack, wrapped, samples, eps=radius)
        assert claimed is not None
        for _ in range(self.params.restarts - 1):
            found = called(attack, wrapped, samples, eps=radius)
            assert found.claimed is not None
            points[~claimed] = found.x_adv[~claimed]
            claimed = claimed | found.claimed
        return Found(points, claimed)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One of each for a step, and a forward pass to see what came of it."""
        return self.params.restarts * (self.params.steps + 1.0), float(self.params.restarts * self.params.steps)


class FoolboxCW(LibraryAttack):
    """``L2CarliniWagnerAttack``: minimum-norm."""

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    library: ClassVar[tuple[str, ...]] = ("foolbox",)
    minimum_norm: ClassVar[bool] = True
    params: CWParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Found:
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
        return called(attack, _wrapped(model), samples, eps=None)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One of each for a step of each binary search step, and a forward pass to see what came of it."""
        total = float(self.params.binary_search_steps * self.params.steps)
        return total + 1, total
