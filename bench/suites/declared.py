"""What a suite's defenses declare of themselves, from the tables of names alone."""

from __future__ import annotations

from typing import NamedTuple

from bench import registry
from bench.suites.naming import entry_of
from bench.suites.spec import DefenseSpec


class Declared(NamedTuple):
    """What a defense, or a whole chain, declares."""

    differentiable: bool
    stochastic: bool
    rejects: bool
    calibrated: bool
    """whether a threshold has to be calibrated on held-out clean images"""

    @property
    def plain(self) -> bool:
        """Whether an attacker who treats it as any other model already has its exact gradient."""
        return self.differentiable and not self.stochastic and not self.rejects


def certifies(defense: DefenseSpec, norm: str) -> bool:
    """Whether it gives certificates under a norm: one that comes after another speaks of what that makes of the image."""
    if norm != "l2" or not defense.links:
        return False
    entry = entry_of(registry.defenses, defense.links[0].name)
    return entry is not None and bool(entry.facts.get("certifies", False))


def declared(defense: DefenseSpec) -> Declared:
    """What the defenses of a chain declare together; the bare model is plain. Unknown names declare nothing."""
    facts = [entry.facts for link in defense.links if (entry := entry_of(registry.defenses, link.name)) is not None]
    return Declared(
        all(bool(fact.get("differentiable", False)) for fact in facts),
        any(bool(fact.get("stochastic", False)) for fact in facts),
        any(bool(fact.get("rejects", False)) for fact in facts),
        any(bool(fact.get("calibrated", False)) for fact in facts),
    )
