"""Whether a suite can work: names, parameters and combinations, against the tables of names.

What needs the model or the data themselves (weights that aren't there, logits of the wrong shape) is the runner's
preflight.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ValidationError

from bench import registry
from bench.errors import Problem, SuiteError, nearest
from bench.registry import Entry, Registry
from bench.suites.conflicts import conflicts
from bench.suites.declared import declared
from bench.suites.loaded import LoadedSuite
from bench.suites.messages import problems_of, shown
from bench.suites.models import model_problems
from bench.suites.naming import entry_of
from bench.suites.references import placed_members
from bench.suites.sources import Loc, Sources, in_order
from bench.suites.spec import AttackSpec, DatasetSpec, DefenseSpec, ModelSpec, Suite, ThreatModelSpec, format_eps

_SURROGATES = ("own", "identity", "exact")


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a suite that are in order by themselves, with their indices."""

    dataset: DatasetSpec | None
    calibration: DatasetSpec | None
    threat_models: Mapping[int, ThreatModelSpec]
    models: Mapping[int, ModelSpec]
    attacks: Mapping[int, AttackSpec]
    defenses: Mapping[int, DefenseSpec]
    metrics: Mapping[int, str]
    plugins: tuple[str, ...]

    @classmethod
    def of(cls, suite: Suite) -> Parts:
        """All parts of a whole suite."""
        lists = (suite.threat_models, suite.models, suite.attacks, suite.defenses, suite.metrics)
        threat_models, models, attacks, defenses, metrics = (dict(enumerate(one)) for one in lists)
        return cls(suite.dataset, suite.calibration, threat_models, models, attacks, defenses, metrics, suite.plugins)  # type: ignore[arg-type]


def check(loaded: LoadedSuite | Suite) -> None:
    """Refuses a suite that can't work.

    Plugins must have been run before (:func:`bench.registry.load_plugin`): their names are unknown otherwise.

    Raises:
        SuiteError: with all problems, each with file and line where the suite came from a file.
    """
    suite, sources = (loaded, Sources()) if isinstance(loaded, Suite) else (loaded.suite, loaded.sources)
    problems = part_problems(Parts.of(suite), sources)
    problems += conflicts(suite, sources)
    if problems:
        raise SuiteError(in_order(problems, () if isinstance(loaded, Suite) else (str(loaded.path),)))


def part_problems(parts: Parts, sources: Sources) -> list[Problem]:
    """What is wrong with the parts by themselves: names, parameters, radii, models."""
    checker = _Checker(sources, parts.plugins, parts.dataset)
    if parts.dataset is not None:
        checker.dataset("dataset", parts.dataset)
    if parts.calibration is not None:
        checker.dataset("calibration", parts.calibration)
    for index, threat_model in parts.threat_models.items():
        checker.threat_model(("threat_models", index), threat_model)
    for index, model in parts.models.items():
        checker.model(("models", index), model)
    for index, attack in parts.attacks.items():
        entry = checker.named(registry.attacks, ("attacks", index), attack.name, attack.args)
        checker.backend(("attacks", index), attack, entry)
    for index, defense in parts.defenses.items():
        if defense.name != "none":
            checker.defense(("defenses", index), defense)
        elif defense.args:
            place = ("defenses", index, "args", next(iter(defense.args)))
            checker.add(place, "the defense none has no parameters", "none alone")
    for index, metric in parts.metrics.items():
        checker.named(registry.metrics, ("metrics", index), metric, None, key=None)
    return checker.problems


class _Checker:
    """Collects problems."""

    def __init__(self, sources: Sources, plugins: tuple[str, ...], images: DatasetSpec | None) -> None:
        self.sources, self.problems, self.images = sources, list[Problem](), images
        origins = (
            {entry.origin for table in registry.ALL.values() for entry in table.entries().values()}
            if plugins
            else set()
        )
        self.waiting = [plugin for plugin in plugins if plugin not in origins]

    def add(self, loc: Loc, message: str, accepted: str = "") -> None:
        self.problems.append(self.sources.problem(loc, message, accepted))

    def named(
        self, table: Registry[Any], loc: Loc, name: str, args: Mapping[str, Any] | None, *, key: str | None = "name"
    ) -> Entry | None:  # Any: the parameters' own values
        """Checks a name and its parameters; its line of the table where it has one."""
        known = table.entries()
        if name not in known:
            hint = nearest(name, known)
            if self.waiting:
                hint += f"; the plugin {self.waiting[0]} has not been run: it needs --allow-plugins"
            place = loc if key is None else (*loc, key)
            names = table.known_to(name)
            names = sorted({*names, "none"}) if table.kind == "defense" else names
            if name in table.refused:
                self.add(place, f"the {_noun(table)} {name} can't be used here: {table.refused[name]}")
            else:
                self.add(place, f"unknown {_noun(table)} {shown(name)}{hint}", ", ".join(names))
            return None
        if args is not None and not (known[name].params is None and known[name].origin != "bench"):
            self.parameters(f"the {_noun(table)} {name}", known[name].params, loc, args)
        return known[name]

    def parameters(self, owner: str, params: type[BaseModel] | None, loc: Loc, args: Mapping[str, Any]) -> None:
        """Checks parameters against their pydantic model."""
        base = (*loc, "args")
        if params is None:
            for name, value in args.items():
                self.add((*base, name), f"unknown parameter {name!r} of {owner}, got {shown(value)}", "no parameters")
            return
        trapped = {name for name, value in args.items() if _has_boolean(value) and _no_boolean(params, name)}
        for name in trapped:
            description = params.model_fields[name].description or ""
            self.add(
                (*base, name),
                f"{name!r} of {owner} is not a matter of true and false, got {shown(args[name])}",
                description,
            )
        try:
            params.model_validate(dict(args))
        except ValidationError as error:
            found = problems_of(error, self.sources, model=params, base=base, owner=owner)
            places = {self.sources.problem((*base, name), "").key for name in trapped}
            self.problems += [problem for problem in found if problem.key not in places]

    def threat_model(self, loc: Loc, threat_model: ThreatModelSpec) -> None:
        norms = importlib.import_module("bench.threat_models").TABLE
        if threat_model.norm not in norms:
            self.add((*loc, "norm"), f"there is no threat model for {threat_model.norm} yet", ", ".join(norms))
        if threat_model.norm == "linf" and threat_model.eps > 1:
            eps = format_eps(threat_model.eps)
            guess = f"{eps}/255" if threat_model.eps <= 255 and "/" not in eps else "8/255"
            self.add((*loc, "eps"), f"eps is in [0, 1] units, got {eps}; did you mean {guess}?", "above 0, at most 1")

    def dataset(self, section: str, dataset: DatasetSpec) -> None:
        entry = self.named(registry.datasets, (section,), dataset.name, dataset.args)
        for fact, key in (("sources", "source"), ("splits", "split")):
            there, value = tuple(entry.facts.get(fact, ())) if entry is not None else (), getattr(dataset, key)
            if there and value is not None and value not in there:
                self.add(
                    (section, key),
                    f"{dataset.name} has no {key} {shown(value)}{nearest(value, there)}",
                    ", ".join(there),
                )
        for key in entry.facts.get("needs", ()) if entry is not None else ():
            if getattr(dataset, key, dataset.args.get(key)) in (None, ""):
                self.add(
                    (section, key), f"the dataset {dataset.name} has no {key}: it needs one", "a file or directory"
                )

    def model(self, loc: Loc, model: ModelSpec) -> None:
        entry = self.named(registry.models, loc, model.source, model.args, key="source")
        self.problems += model_problems(model, entry, loc, self.sources, self.images)

    def backend(self, loc: Loc, attack: AttackSpec, entry: Entry | None) -> None:
        backends = tuple(entry.facts.get("backends", ())) if entry is not None else ()
        if attack.backend is not None and backends and attack.backend not in backends:
            hint = nearest(attack.backend, backends)
            message = f"the attack {attack.name} has no backend {shown(attack.backend)}{hint}"
            self.add((*loc, "backend"), message, ", ".join(backends))
        limits = entry.facts.get("backend_takes", {}).get(attack.backend, {}) if entry is not None else {}
        for key, values in limits.items():
            if key in attack.args and attack.args[key] not in values:
                message = f"the backend {attack.backend} of {attack.name} can't do that, got {shown(attack.args[key])}"
                self.add((*loc, "args", key), message, ", ".join("null" if one is None else str(one) for one in values))

    def defense(self, loc: Loc, defense: DefenseSpec) -> None:
        for place, link in enumerate(defense.chain):
            self.defense((*loc, "chain", place), link)
        kinds = [self._kind(link) for link in defense.chain]
        for place, (kind, after) in enumerate(pairwise(kinds)):
            if kind == "detector" and after != "detector":
                message = f"nothing but another detector comes after a detector, got {defense.chain[place + 1].name}"
                self.add((*loc, "chain", place + 1), message, "purifiers first, then votes, then detectors")
            if kind == "rewiring" and after == "purifier":
                message = f"a purifier comes before what asks the model, got {defense.chain[place + 1].name} after it"
                self.add((*loc, "chain", place + 1), message, "purifiers first, then votes, then detectors")
        entry = None if defense.chain else self.named(registry.defenses, loc, defense.name, defense.args)
        for key, place, model in placed_members(defense):
            self.model((*loc, "args", key, place), model)
        if defense.surrogate is not None:
            self._surrogate(loc, defense, entry)
        draws = [key for key in ("eot_iter", "scoring_draws") if getattr(defense, key) is not None]
        if draws and (entry is not None or defense.chain) and not declared(defense).stochastic:
            self.add((*loc, draws[0]), f"{defense.name} is not stochastic: it has no draws", "a stochastic defense")

    @staticmethod
    def _kind(defense: DefenseSpec) -> str:
        entry = entry_of(registry.defenses, defense.name)
        return str(entry.facts.get("kind", "purifier")) if entry is not None else ""

    def _surrogate(self, loc: Loc, defense: DefenseSpec, entry: Entry | None) -> None:
        """``surrogate`` is one of our words, or a differentiable purifier."""
        there = registry.defenses.entries()
        pure = [
            name
            for name, one in there.items()
            if one.facts.get("kind", "purifier") == "purifier"
            and one.facts.get("differentiable")
            and not _needs(one.params)
        ]
        accepted = ", ".join([*_SURROGATES, *pure])
        if defense.surrogate not in (*_SURROGATES, *pure):
            message = (
                f"unknown surrogate {shown(defense.surrogate)}{nearest(str(defense.surrogate), [*_SURROGATES, *pure])}"
            )
            self.add((*loc, "surrogate"), message, accepted)
        elif defense.chain:
            message = "a chain has no surrogate of its own: each of its defenses may have one"
            self.add((*loc, "surrogate"), message, "surrogate inside the chain")
        elif entry is not None and entry.facts.get("kind", "purifier") == "detector" and defense.surrogate in pure:
            message = f"{defense.name} is a detector: a purifier can't stand in for its score"
            self.add((*loc, "surrogate"), message, ", ".join(_SURROGATES))


def _needs(params: type[BaseModel] | None) -> bool:
    """Whether a parameter has no default."""
    return params is not None and any(field.is_required() for field in params.model_fields.values())


def _noun(table: Registry[Any]) -> str:
    return "source of models" if table is registry.models else table.kind


def _has_boolean(value: object) -> bool:
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(isinstance(one, bool) for one in value))


def _no_boolean(params: type[BaseModel], name: str) -> bool:
    """Whether a parameter is a number: pydantic would read true as 1."""
    field = params.model_fields.get(name)
    return (
        field is not None
        and "bool" not in str(field.annotation)
        and any(kind in str(field.annotation) for kind in ("int", "float"))
    )
