"""The product of a suite: which model meets which defense, threat model, attack and adversary."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from bench.suites.declared import declared
from bench.suites.spec import (
    Adversary,
    AttackSpec,
    Combination,
    DefenseSpec,
    ModelSpec,
    Suite,
    ThreatModelSpec,
    format_eps,
    parse_eps,
)


class Combined(NamedTuple):
    """One combination of a suite, before seeds; ids and defaults are filled in."""

    model: ModelSpec
    threat_model: ThreatModelSpec
    defense: DefenseSpec
    attack: AttackSpec
    adversary: Adversary


def product(suite: Suite) -> Iterator[Combined]:
    """Every combination of a resolved suite, before ``include`` and ``exclude``.

    The bare model has one adversary: the one that knows the model. A defended row has the oblivious one too wherever
    it has the adaptive one, and the naive one where the suite asks for it and it is another.
    """
    for model in suite.models:
        for threat_model in suite.threat_models:
            for defense in suite.defenses:
                for adversary in adversaries(suite, defense):
                    for attack in suite.attacks:
                        yield Combined(model, threat_model, defense, attack, adversary)


def adversaries(suite: Suite, defense: DefenseSpec) -> tuple[Adversary, ...]:
    """Who attacks a row, the adaptive one first."""
    if defense.name == "none":
        return ("adaptive",)
    naive: tuple[Adversary, ...] = ("naive",) if "naive" in suite.adversaries and not declared(defense).plain else ()
    if "adaptive" in suite.adversaries:
        return ("adaptive", *naive, "oblivious")
    return (*naive, *(("oblivious",) if "oblivious" in suite.adversaries or not naive else ()))


def kept(suite: Suite) -> list[Combined]:
    """The combinations that ``include`` and ``exclude`` leave, in order."""
    return [one for one in product(suite) if _asked_for(suite, one)]


def _asked_for(suite: Suite, combined: Combined) -> bool:
    if suite.include and not any(matches(one, combined) for one in suite.include):
        return False
    return not any(matches(one, combined) for one in suite.exclude)


def matches(pattern: Combination, combined: Combined) -> bool:
    """Whether a filter names this combination; what it doesn't name, it doesn't restrict."""
    return all(
        wanted is None or any(meets(field, one, combined) for one in listed(wanted))
        for field, wanted in ((field, getattr(pattern, field)) for field in Combination.model_fields)
    )


def listed(wanted: str | list[str]) -> list[str]:
    """One value alone as a list of one."""
    return [wanted] if isinstance(wanted, str) else wanted


def meets(field: str, wanted: str, combined: Combined) -> bool:
    """Whether one id or pattern of a filter names this combination's part."""
    return any(fnmatchcase(name.lower(), _canonical(field, wanted)) for name in names(field, combined))


def names(field: str, combined: Combined) -> tuple[str, ...]:
    """What a part of a combination answers to in a filter, the most usual first."""
    if field == "model":
        return tuple(name for name in (combined.model.id, combined.model.name) if name)
    if field == "defense":
        return (combined.defense.id or combined.defense.name, combined.defense.name)
    if field == "attack":
        return (combined.attack.id or combined.attack.name, combined.attack.name)
    if field == "threat_model":
        norm = combined.threat_model.norm
        return (f"{norm}:{format_eps(combined.threat_model.eps)}", norm)
    return (combined.adversary,)


def _canonical(field: str, wanted: str) -> str:
    """A pattern in lower case; ``linf:0.0313725490196...`` and ``linf:16/510`` as ``linf:8/255``."""
    if field == "threat_model":
        norm, colon, eps = wanted.replace(" ", "").partition(":")
        try:
            return f"{norm.lower()}:{format_eps(parse_eps(eps))}" if colon else norm.lower()
        except ValueError:
            return wanted.replace(" ", "").lower()
    return wanted.lower()
