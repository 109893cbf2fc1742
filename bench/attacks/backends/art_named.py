"""Every attack of the adversarial-robustness-toolbox on image classifiers by its own name."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from bench._imports import prepare_torchvision
from bench.attacks.backends.art import NORMS, classifier, generate
from bench.attacks.backends.asked import Asked
from bench.attacks.backends.chunk import Found
from bench.attacks.backends.named import NamedAttack, by_name
from bench.attacks.base import AttackContext, Samples
from bench.attacks.libraries.art import LINES

_ALONE = ("SimBA",)
"""Attacks that take no other batch size."""


class ArtNamed(NamedAttack):
    """One of ART's attacks."""

    package: ClassVar[str] = "art"
    library: ClassVar[tuple[str, ...]] = ("adversarial-robustness-toolbox",)

    def search(self, model: Asked, samples: Samples, context: AttackContext, seed: int) -> Found:
        """ART's ``generate``, untargeted, in one batch."""
        prepare_torchvision()
        from art.attacks import evasion

        kind = getattr(evasion, self.line.name)
        owned: dict[str, Any] = {
            "eps": context.threat_model.radius,
            "norm": NORMS[context.threat_model.norm],
            "targeted": False,
            # Also of what it asks about one image, which ART would cut into single questions.
            "batch_size": 1 if self.line.name in _ALONE else max(len(samples), context.batch_size),
            "verbose": False,
            "summary_writer": False,
        }
        takes = inspect.signature(kind).parameters
        args = {**{key: value for key, value in owned.items() if key in takes}, **self.arguments(context)}
        return generate(kind(classifier(model, samples), **args), samples)


def __getattr__(name: str) -> type[NamedAttack]:
    return by_name(ArtNamed, LINES, name)
