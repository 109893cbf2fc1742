"""Which examples of a suite are tried on which rows of other models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bench import registry
from bench.suites.cells import digest
from bench.suites.combine import Combined, meets
from bench.suites.spec import AttackSpec, DefenseSpec, Suite
from bench.suites.transfer import TransferSpec

NONE = DefenseSpec(id="none", name="none")
"""The bare model."""


class Crossing(NamedTuple):
    """The examples of one model on a row of another."""

    source: Combined
    """the bare model that the examples are made against"""
    target: Combined
    """the row that they are tried on: another model with or without a defense, the same attack and threat model"""


def crossings(suite: Suite, combined: Sequence[Combined]) -> list[Crossing]:
    """Every crossing that a suite asks for, by target; none without ``transfer``.

    Sources are the models that the suite puts to an attack under a threat model, behind whatever defense; targets the rows
    that it has under the same threat model. A model's examples on its own defended rows are the oblivious adversary's.

    Args:
        suite: one that is resolved.
        combined: the combinations that ``include`` and ``exclude`` leave.
    """
    wanted = suite.transfer
    if wanted is None:
        return []
    sources = _sources(wanted, combined)
    return [
        Crossing(source, target._replace(attack=source.attack))
        for target in _targets(wanted, combined)
        for source in sources
        if source.model is not target.model and source.threat_model is target.threat_model
    ]


def reusable(attack: AttackSpec) -> bool:
    """Whether an attack's examples say something on another model; unknown names are refused elsewhere."""
    entry = registry.attacks.entries().get(attack.name)
    return entry is None or bool(entry.facts.get("reusable", True))


def content(attack: AttackSpec) -> str:
    """An attack without its name in tables and its search: the examples are made with the whole budget in any case."""
    return digest(attack.model_dump(mode="json", exclude={"id", "search"}))


def _sources(wanted: TransferSpec, combined: Sequence[Combined]) -> list[Combined]:
    """The bare models with the attacks that make examples, each once."""
    found: dict[tuple[str, int, str], Combined] = {}
    for one in combined:
        chosen = _met("model", wanted.sources, one) and _met("attack", wanted.attacks, one)
        if chosen and _met("threat_model", wanted.threat_models, one) and reusable(one.attack):
            key = (one.model.id, id(one.threat_model), content(one.attack))
            found.setdefault(key, one._replace(defense=NONE, adversary="adaptive"))
    return list(found.values())


def _targets(wanted: TransferSpec, combined: Sequence[Combined]) -> list[Combined]:
    """One combination of each row."""
    rows: dict[tuple[str, int, str], Combined] = {}
    for one in combined:
        if _met("model", wanted.targets, one) and _met("defense", wanted.defenses, one):
            rows.setdefault((one.model.id, id(one.threat_model), str(one.defense.id)), one)
    return list(rows.values())


def _met(field: str, patterns: Sequence[str], one: Combined) -> bool:
    return any(meets(field, pattern, one) for pattern in patterns)
