"""Attacks of the adversarial-robustness-toolbox (Nicolae et al. 2018, arXiv:1807.01069)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from bench._imports import prepare_torchvision
from bench.attacks.backends.chunk import Found, LibraryAttack
from bench.attacks.base import AttackContext, Samples, Target
from bench.attacks.parameters import CWParams, FGSMParams, PGDParams
from bench.attacks.pgd import step_size
from bench.errors import AttackError

NORMS: dict[str, Any] = {"linf": np.inf, "l2": 2, "l1": 1}  # Any: ART takes a number or np.inf


def classifier(model: Any, samples: Samples) -> Any:  # Any: a module; ART has no annotations that mypy sees
    """The model as ART takes it.

    Args:
        model: images in [0, 1] to logits.
        samples: for the images' shape and device.
    """
    prepare_torchvision()
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=model,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=tuple(samples.x.shape[1:]),
        nb_classes=model.num_classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if samples.x.is_cuda else "cpu",
    )


def generate(attack: Any, samples: Samples) -> Found:  # Any: an attack of ART
    """The points that an attack of ART returns; it doesn't say which of them it believes in.

    Args:
        attack: on a :func:`classifier`.
        samples: what is attacked.
    """
    one_hot = np.eye(int(attack.estimator.nb_classes), dtype=np.float32)[samples.y.cpu().numpy()]
    found = attack.generate(x=samples.x.cpu().numpy(), y=one_hot)
    return Found(torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32)).to(samples.x.device))


class ArtFGSM(LibraryAttack):
    """``FastGradientMethod``."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    library: ClassVar[tuple[str, ...]] = ("adversarial-robustness-toolbox",)
    params: FGSMParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Found:
        """One step of ART's fast gradient method."""
        prepare_torchvision()
        from art.attacks.evasion import FastGradientMethod

        if self.params.alpha is not None or self.params.loss != "ce":
            raise AttackError("fgsm: backend art has no alpha and no other loss than ce; use backend bench")
        attack = FastGradientMethod(
            classifier(model, samples),
            norm=NORMS[context.threat_model.norm],
            eps=context.threat_model.radius,
            num_random_init=int(self.params.random_start),
            batch_size=len(samples),
        )
        return generate(attack, samples)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One of each."""
        return 1.0, 1.0


class ArtPGD(LibraryAttack):
    """``ProjectedGradientDescentPyTorch``."""

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    library: ClassVar[tuple[str, ...]] = ("adversarial-robustness-toolbox",)
    params: PGDParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Found:
        """ART's PGD with its own restarts."""
        prepare_torchvision()
        from art.attacks.evasion import ProjectedGradientDescentPyTorch

        if self.params.loss != "ce" or self.params.step_rule != "constant":
            raise AttackError("pgd: backend art has only loss ce and step_rule constant; use backend bench")
        if self.params.restarts > 1 and not self.params.random_start:
            raise AttackError("pgd: restarts without random_start would all be the same; set restarts: 1")
        attack = ProjectedGradientDescentPyTorch(
            classifier(model, samples),
            norm=NORMS[context.threat_model.norm],
            eps=context.threat_model.radius,
            eps_step=step_size(self.params, context.threat_model.radius),
            max_iter=self.params.steps,
            num_random_init=self.params.restarts if self.params.random_start else 0,
            batch_size=len(samples),
            verbose=False,
        )
        return generate(attack, samples)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """One of each for a step, and forward passes to compare restarts."""
        return self.params.restarts * (self.params.steps + 2.0), float(self.params.restarts * self.params.steps)


class ArtCW(LibraryAttack):
    """``CarliniL2Method``: minimum-norm."""

    norms: ClassVar[tuple[str, ...]] = ("l2",)
    library: ClassVar[tuple[str, ...]] = ("adversarial-robustness-toolbox",)
    minimum_norm: ClassVar[bool] = True
    params: CWParams

    def search(self, model: Target, samples: Samples, context: AttackContext, seed: int) -> Found:
        """ART's search; the clean image where it found nothing."""
        prepare_torchvision()
        from art.attacks.evasion import CarliniL2Method

        attack = CarliniL2Method(
            classifier(model, samples),
            confidence=self.params.confidence,
            learning_rate=self.params.stepsize,
            binary_search_steps=self.params.binary_search_steps,
            max_iter=self.params.steps,
            initial_const=self.params.initial_const,
            batch_size=len(samples),
            verbose=False,
        )
        return generate(attack, samples)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """About three forward passes and one backward pass for a step of each binary search step."""
        total = float(self.params.binary_search_steps * self.params.steps)
        return 3 * total, total
