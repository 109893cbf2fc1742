"""What a model of a suite needs, as far as the suite itself can tell."""

from __future__ import annotations

import importlib
import math

from bench import registry
from bench.errors import Problem, nearest
from bench.registry import Entry
from bench.suites.messages import shown
from bench.suites.naming import entry_of
from bench.suites.sources import Loc, Sources
from bench.suites.spec import DatasetSpec, ModelSpec

_FORMS = {
    "name": "the model's name in its source, such as robustbench:Wong2020Fast",
    "weights": "a file of weights (.safetensors, .pt, .pth)",
    "recipe": "a recipe of `bench train`",
    "architecture": "a name that `bench list architectures` shows",
}
_ALWAYS = ("id", "source", "args", "clean_accuracy")


def model_problems(
    model: ModelSpec, entry: Entry | None, loc: Loc, sources: Sources, dataset: DatasetSpec | None
) -> list[Problem]:
    """What is wrong with one model.

    Args:
        model: the model.
        entry: the line of its source; ``None`` where the source is unknown.
        loc: where it stands.
        sources: the lines of the suite.
        dataset: the images it is to see, where that part of the suite is right.
    """
    problems = _keys(model, entry, loc, sources)
    if model.architecture and (entry is None or "architecture" in entry.facts.get("takes", ("architecture",))):
        known = registry.architectures.entries()
        libraries = getattr(importlib.import_module(registry.architectures.package), "PREFIXES", ())
        library, colon, name = model.architecture.partition(":")
        if model.architecture not in known and not (colon and name and library in libraries):
            message = f"unknown architecture {shown(model.architecture)}{nearest(model.architecture, known)}"
            accepted = ", ".join([*sorted(known), *(f"{one}:NAME" for one in libraries)])
            problems.append(sources.problem((*loc, "architecture"), message, accepted))
    problems += _normalisation(model, loc, sources)
    problems += _known_models(model, entry, loc, sources, dataset)
    return problems


def _keys(model: ModelSpec, entry: Entry | None, loc: Loc, sources: Sources) -> list[Problem]:
    """Keys that the source needs and doesn't get, or gets and wouldn't use: ignored, they would be a wrong number.

    A source says so in ``facts["needs"]`` and ``facts["takes"]``.
    """
    problems: list[Problem] = []
    facts = entry.facts if entry is not None else {}
    for key in facts.get("needs", ()):
        if getattr(model, key) in (None, ""):
            message = f"the model {model.id} has no {key}: {model.source} needs one"
            problems.append(sources.problem((*loc, key), message, _FORMS.get(key, "a value")))
    takes = tuple(facts.get("takes", ModelSpec.model_fields))
    for key in ModelSpec.model_fields:
        if getattr(model, key) not in (None, {}, ()) and key not in (*takes, *_ALWAYS):
            message = f"{model.source} doesn't use {key}, got {shown(getattr(model, key))}"
            problems.append(sources.problem((*loc, key), message, ", ".join(takes)))
    return problems


def _normalisation(model: ModelSpec, loc: Loc, sources: Sources) -> list[Problem]:
    mean, std = model.mean, model.std
    problems: list[Problem] = []

    def add(key: str, message: str, accepted: str) -> None:
        problems.append(sources.problem((*loc, key), message, accepted))

    if (mean is None) != (std is None):
        here, missing = ("mean", "std") if std is None else ("std", "mean")
        add(here, f"{here} is given without {missing}", "both or neither, one number per channel")
    elif mean is not None and std is not None and len(mean) != len(std):
        add("std", f"mean has {len(mean)} numbers and std {len(std)}", "one number per channel in both")
    for key, values in (("mean", mean), ("std", std)):
        if values is not None and not values:
            add(key, f"{key} is empty", "one number per channel")
        if any(not math.isfinite(value) for value in values or ()):
            add(key, f"{key} must be finite, got {list(values or ())}", "one number per channel, in [0, 1] units")
        elif any(value > 1 for value in values or ()) and max(values or ()) > 2:
            scaled = ", ".join(f"{value / 255:.4f}" for value in values or ())
            add(key, f"{key} is in [0, 1] units, got {list(values or ())}; did you mean [{scaled}]?", "divided by 255")
    if any(value <= 0 for value in std or ()):
        add("std", f"std must be above 0, got {list(std or ())}", "numbers above 0")
    return problems


def _known_models(
    model: ModelSpec, entry: Entry | None, loc: Loc, sources: Sources, dataset: DatasetSpec | None
) -> list[Problem]:
    """Checks against the models that a source lists by name, and the classes that they tell apart.

    A source lists its models in ``facts["models"]``: name to facts, among them ``num_classes`` and ``dataset``; in
    ``facts["elsewhere"]`` names of its that belong elsewhere, and what they are.
    """
    listed = entry.facts.get("models") if entry is not None else None
    if not listed or not model.name:
        return []
    elsewhere = entry.facts.get("elsewhere", {}) if entry is not None else {}
    if model.name in elsewhere:
        message = f"{model.source}:{model.name} {elsewhere[model.name]}"
        return [sources.problem((*loc, "name"), message, ", ".join(sorted(listed)))]
    if model.name not in listed:
        message = f"{model.source} has no model {shown(model.name)}{nearest(model.name, listed)}"
        return [sources.problem((*loc, "name"), message, ", ".join(sorted(listed)))]
    images = entry_of(registry.datasets, dataset.name) if dataset is not None else None
    if images is None or dataset is None:
        return []
    facts = listed[model.name]
    classes, wanted = facts.get("num_classes"), images.facts.get("num_classes")
    if classes is not None and wanted is not None and classes != wanted:
        message = f"the model {model.name} tells {classes} classes apart, the dataset {dataset.name} has {wanted}"
        return [sources.problem(loc, message, f"a model with {wanted} classes")]
    shape, there = facts.get("shape"), images.facts.get("shape")
    if shape is not None and there is not None and tuple(shape) != tuple(there):
        message = f"the model {model.name} takes images of shape {tuple(shape)}, the dataset {dataset.name} has {tuple(there)}"
        return [sources.problem(loc, message, "a model for such images")]
    return []
