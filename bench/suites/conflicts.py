"""Parts of a suite that are right by themselves and can't go together."""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from bench import registry
from bench.errors import Problem, nearest
from bench.registry import Entry
from bench.suites.cells import digest
from bench.suites.combine import Combined, kept, listed, matches, meets, names, product
from bench.suites.messages import shown
from bench.suites.naming import entry_of, resolve
from bench.suites.sources import Sources
from bench.suites.spec import AttackSpec, Combination, Spec, Suite, format_eps
from bench.suites.transfer_conflicts import transfer_problems

_NEVER = "a combination that can't work"


def conflicts(suite: Suite, sources: Sources) -> list[Problem]:
    """What is wrong between the parts: twice the same, filters without a match, attacks under the wrong norm."""
    resolved = resolve(suite)
    problems = _twice(suite, resolved, sources)
    if not (suite.attacks and suite.threat_models):  # with corruptions, a suite may have neither
        return problems + _half(suite, sources)
    everything = list(product(resolved))
    problems += _filters(suite, everything, sources)
    left = kept(resolved)
    if not left and not problems:
        key = "exclude" if suite.exclude else "include"
        problems.append(
            sources.problem((key,), "include and exclude leave no combination", "filters that leave at least one")
        )
    return (
        problems
        + _norms(resolved, left, sources)
        + _defense_norms(resolved, left, sources)
        + _idle(suite, resolved, left, sources)
        + _classes(resolved, sources)
        + transfer_problems(resolved, left, sources)
    )


def _half(suite: Suite, sources: Sources) -> list[Problem]:
    """Attacks without threat models, the other way round, and filters where there is nothing to filter."""
    problems: list[Problem] = []
    for section, other in (("attacks", "threat_models"), ("threat_models", "attacks")):
        if getattr(suite, section):
            problems.append(sources.problem((section,), f"{section} without {other}", "both, or neither"))
    for section in ("include", "exclude", "transfer"):
        if getattr(suite, section):
            message = f"{section} chooses among attacks, and this suite has none"
            problems.append(sources.problem((section,), message, f"attacks, or no {section}"))
    return problems


def _twice(suite: Suite, resolved: Suite, sources: Sources) -> list[Problem]:
    """Ids and contents that stand in a list twice."""
    problems: list[Problem] = []

    def refuse(section: str, what: str, keys: Iterable[Hashable], names: Iterable[str], accepted: str) -> None:
        seen: dict[Hashable, int] = {}
        for index, (key, name) in enumerate(zip(keys, names, strict=True)):
            if key in seen:
                mark = sources.mark((section, seen[key]))
                where = f", first in line {mark.line}" if mark is not None and mark.line is not None else ""
                problems.append(sources.problem((section, index), f"{what} {name} is there twice{where}", accepted))
            seen.setdefault(key, index)

    balls = [(one.norm, one.eps) for one in suite.threat_models]
    labels = [one.label for one in suite.threat_models]
    refuse("threat_models", "the threat model", balls, labels, "each norm and eps once")
    for section, noun in (("models", "model"), ("attacks", "attack"), ("defenses", "defense")):
        specs = getattr(resolved, section)
        contents = [digest(_content(one, suite)) for one in specs]
        ids = [str(one.id) for one in specs]
        refuse(section, f"the {noun}", contents, ids, "other parameters, or once")
        first = [contents.index(content) == index for index, content in enumerate(contents)]
        own = [name.lower() if new else index for index, (name, new) in enumerate(zip(ids, first, strict=True))]
        refuse(section, "the id", own, ids, "an id of its own")
    for section in ("adversaries", "metrics"):
        refuse(section, "the name", getattr(suite, section), getattr(suite, section), "each once")
    return problems


def _content(spec: Spec, suite: Suite) -> dict[str, Any]:  # Any: JSON values
    """What an item says beside its id; an attack without a search of its own has that of the run."""
    content = spec.model_dump(mode="json", exclude={"id"})
    return {**content, "search": spec.search or suite.run.search} if isinstance(spec, AttackSpec) else content


def _filters(suite: Suite, everything: Sequence[Combined], sources: Sources) -> list[Problem]:
    """Filters that name nothing: a slip in an id would silently change what is evaluated."""
    problems: list[Problem] = []
    for section in ("include", "exclude"):
        patterns: tuple[Combination, ...] = getattr(suite, section)
        for index, pattern in enumerate(patterns):
            found = False
            for field in Combination.model_fields:
                for wanted in listed(getattr(pattern, field) or []):
                    if not any(meets(field, wanted, one) for one in everything):
                        there = list(dict.fromkeys(name for one in everything for name in names(field, one)[:1]))
                        what = field.replace("_", " ")
                        message = f"no {what} of this suite is called {shown(wanted)}{nearest(wanted, there)}"
                        problems.append(sources.problem((section, index, field), message, ", ".join(there)))
                        found = True
            if not found and not any(getattr(pattern, field) for field in Combination.model_fields):
                keys = ", ".join(Combination.model_fields)
                problems.append(
                    sources.problem((section, index), f"an empty filter in {section}", f"at least one of {keys}")
                )
            elif not found and not any(matches(pattern, one) for one in everything):
                message = "this filter matches no combination of the suite"
                problems.append(sources.problem((section, index), message, "a filter that matches at least one"))
    return problems


def _norms(resolved: Suite, left: Sequence[Combined], sources: Sources) -> list[Problem]:
    """Attacks under norms that they can't do; a norm without a threat model is refused by itself."""
    there_are = importlib.import_module("bench.threat_models").TABLE
    left = [one for one in left if one.threat_model.norm in there_are]
    problems: list[Problem] = []
    for index, attack in enumerate(resolved.attacks):
        entry = entry_of(registry.attacks, attack.name)
        norms = _norms_of(entry, attack) if entry is not None else ()
        if not norms:
            continue
        name = attack.name if entry is not None and norms == entry.norms else f"{attack.name} of {attack.backend}"
        wrong = dict.fromkeys(
            one.threat_model for one in left if one.attack is attack and one.threat_model.norm not in norms
        )
        works = " and ".join(norms)
        possible = any(one.norm in norms for one in resolved.threat_models)
        if wrong and not possible:
            there = ", ".join(dict.fromkeys(one.norm for one in resolved.threat_models))
            message = f"{_NEVER}: the attack {name} works under {works} only, and the suite's norms are {there}"
            problems.append(
                sources.problem(("attacks", index), message, f"an attack for {there}, or a threat model in {works}")
            )
            continue
        for norm in dict.fromkeys(one.norm for one in wrong):
            under = ", ".join(f"{one.norm}:{format_eps(one.eps)}" for one in wrong if one.norm == norm)
            message = f"{_NEVER}: the attack {name} under {under}; it works under {works} only"
            remedy = f"exclude: [{{attack: {attack.id}, threat_model: '{norm}:*'}}] to leave it out there"
            problems.append(sources.problem(("attacks", index), message, remedy))
    return problems


def _defense_norms(resolved: Suite, left: Sequence[Combined], sources: Sources) -> list[Problem]:
    """Defenses under norms that they say nothing about."""
    problems: list[Problem] = []
    for index, defense in enumerate(resolved.defenses):
        met = dict.fromkeys(one.threat_model.norm for one in left if one.defense is defense)
        for link in defense.links:
            entry = entry_of(registry.defenses, link.name)
            norms = entry.norms if entry is not None else ()
            for norm in met if norms else ():
                if norm not in norms:
                    works = " and ".join(norms)
                    message = f"{_NEVER}: the defense {link.name} under {norm}; it works under {works} only"
                    remedy = f"exclude: [{{defense: {defense.id}, threat_model: '{norm}:*'}}] to leave it out there"
                    problems.append(sources.problem(("defenses", index), message, remedy))
    return problems


def _norms_of(entry: Entry, attack: AttackSpec) -> tuple[str, ...]:
    """The norms of an attack, or of the backend that the suite chose where ``facts["backend_norms"]`` tells."""
    return tuple(entry.facts.get("backend_norms", {}).get(attack.backend, entry.norms))


def _idle(suite: Suite, resolved: Suite, left: Sequence[Combined], sources: Sources) -> list[Problem]:
    """Parameters that do nothing under any norm that their attack meets, as ``facts["parameter_norms"]`` tells."""
    problems: list[Problem] = []
    for index, (written, attack) in enumerate(zip(suite.attacks, resolved.attacks, strict=True)):
        entry = entry_of(registry.attacks, attack.name)
        limits = entry.facts.get("parameter_norms", {}) if entry is not None else {}
        met = dict.fromkeys(one.threat_model.norm for one in left if one.attack is attack)
        for key in written.args:
            if met and key in limits and not set(limits[key]) & set(met):
                only = " and ".join(limits[key])
                message = f"the parameter {key!r} of the attack {attack.name} does nothing under {', '.join(met)}"
                problems.append(sources.problem(("attacks", index, "args", key), message, f"a threat model in {only}"))
    return problems


def _classes(resolved: Suite, sources: Sources) -> list[Problem]:
    """Backends that need more classes than the dataset has, as ``facts["backend_min_classes"]`` tells.

    Where the suite chose the stages of an ensemble itself, only those in ``facts["needs_min_classes"]`` count.
    """
    images = entry_of(registry.datasets, resolved.dataset.name)
    classes = images.facts.get("num_classes") if images is not None else None
    problems: list[Problem] = []
    for index, attack in enumerate(resolved.attacks):
        facts = getattr(entry_of(registry.attacks, attack.name), "facts", {})
        needed = facts.get("backend_min_classes", {}).get(attack.backend)
        stages = attack.args.get("attacks")
        if (
            stages
            and isinstance(stages, list | tuple)
            and not any(one in stages for one in facts.get("needs_min_classes", ()))
        ):
            continue
        if classes is not None and needed is not None and classes < needed:
            message = (
                f"{_NEVER}: the backend {attack.backend} of {attack.name} needs {needed} classes, "
                f"{resolved.dataset.name} has {classes}"
            )
            others = [one for one in facts.get("backends", ()) if one not in facts["backend_min_classes"]]
            remedy = " or ".join([*(f"backend: {one}" for one in others), "another attack"])
            problems.append(sources.problem(("attacks", index), message, remedy))
    return problems
