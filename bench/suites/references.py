"""What a defense's parameters refer to outside the suite: files of weights, and other models.

A line of the table of names says which parameters these are: ``facts["files"]`` names a file (or, as ``zoo:NAME``, a model
that ships with bench), ``facts["takes_models"]`` lists models in the words of the suite's own list. Where such a file lies
is no part of a cell's identity; what is in it is (:mod:`bench.runner.facts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, TypeAlias

from pydantic import ValidationError

from bench import registry
from bench.suites.sources import Loc
from bench.suites.spec import DefenseSpec, ModelSpec

MODEL_CONTENT = frozenset({"source", "name", "key", "architecture", "architecture_args", "mean", "std", "args"})
"""What of a model's words is part of a cell's identity, beside the digests of its weights and its architecture."""

MODEL_PATHS = ("weights", "recipe", "directory")
"""Words of a model that are paths."""

Find: TypeAlias = Callable[[str, Loc], str]
"""A path and the place that names it, to where it lies."""

Change: TypeAlias = Callable[[ModelSpec, Loc], ModelSpec]
"""A model and its place, to the model that stands there instead."""

_ZOO = "zoo:"


def files(defense: DefenseSpec) -> dict[str, str]:
    """The parameters of one defense that name a file, and the file."""
    found = {key: defense.args.get(key) for key in _keys(defense, "files")}
    return {key: value for key, value in found.items() if isinstance(value, str) and not value.startswith(_ZOO)}


def placed_members(defense: DefenseSpec) -> Iterator[tuple[str, int, ModelSpec]]:
    """The models that the parameters of one defense name: parameter, place in its list, model; wrong ones are left out."""
    for key in _keys(defense, "takes_models"):
        for place, value in enumerate(_listed(defense.args.get(key))):
            model = _model(value)
            if model is not None:
                yield key, place, model


def members(defense: DefenseSpec) -> tuple[ModelSpec, ...]:
    """The models that a defense, or a whole chain, asks beside the bare one."""
    return tuple(model for link in defense.links for _, _, model in placed_members(link))


def with_paths(defense: DefenseSpec, loc: Loc, find: Find) -> DefenseSpec:
    """The defense with its paths where they lie.

    Args:
        defense: one defense or a chain.
        loc: where it stands in the suite.
        find: says where a path lies.
    """
    if defense.chain:
        links = (with_paths(link, (*loc, "chain", place), find) for place, link in enumerate(defense.chain))
        return defense.model_copy(update={"chain": tuple(links)})

    def lies(model: ModelSpec, place: Loc) -> ModelSpec:
        paths = {key: path for key in MODEL_PATHS if (path := getattr(model, key)) is not None}
        return model.model_copy(update={key: find(path, (*place, key)) for key, path in paths.items()})

    args = {**defense.args, **{key: find(path, (*loc, "args", key)) for key, path in files(defense).items()}}
    return with_members(defense.model_copy(update={"args": args}) if args != defense.args else defense, loc, lies)


def with_members(defense: DefenseSpec, loc: Loc, change: Change) -> DefenseSpec:
    """The defense with other models for those that its parameters name.

    Args:
        defense: one defense or a chain.
        loc: where it stands in the suite.
        change: gets a model and its place; one that stays the same stays as it was written.
    """
    if defense.chain:
        links = (with_members(link, (*loc, "chain", place), change) for place, link in enumerate(defense.chain))
        return defense.model_copy(update={"chain": tuple(links)})
    args = dict(defense.args)
    for key in _keys(defense, "takes_models"):
        if key in args:
            listed = enumerate(_listed(args[key]))
            args[key] = [_changed(value, (*loc, "args", key, place), change) for place, value in listed]
    return defense.model_copy(update={"args": args}) if args != defense.args else defense


def lasting(defense: DefenseSpec) -> dict[str, Any]:  # Any: JSON values
    """The parameters of one defense without paths and names for tables: what counts wherever the files lie."""
    there = files(defense)
    args = {key: value for key, value in defense.args.items() if key not in there}
    models: dict[str, list[Any]] = {}
    for key, _, model in placed_members(defense):
        models.setdefault(key, []).append(model.model_dump(mode="json", include=set(MODEL_CONTENT)))
    return {**args, **models}


def words(defense: DefenseSpec, *, folders: bool = False) -> dict[str, str]:
    """What an id says of files and models: the file's name without its suffix, the models' ids.

    Args:
        defense: one defense.
        folders: whether the name of the file's folder comes first.
    """
    texts: dict[str, str] = {}
    for key, path in files(defense).items():
        pure = PurePath(path.replace("\\", "/"))
        texts[key] = f"{pure.parent.name}-{pure.stem}" if folders and pure.parent.name else pure.stem
    for key, _, model in placed_members(defense):
        texts[key] = f"{texts[key]}+{model.id}" if key in texts else model.id
    return texts


def _keys(defense: DefenseSpec, fact: str) -> tuple[str, ...]:
    if defense.chain or defense.name == "none":
        return ()
    entry = registry.defenses.entries().get(defense.name)
    return tuple(entry.facts.get(fact, ())) if entry is not None else ()


def _listed(value: object) -> list[Any]:  # Any: what stands in the YAML
    """One model alone is a list of one, as everywhere in a suite."""
    if isinstance(value, list | tuple):
        return list(value)
    return [value] if isinstance(value, str | Mapping) else []


def _model(value: object) -> ModelSpec | None:
    try:
        return ModelSpec.model_validate(value)
    except ValidationError:
        return None


def _changed(value: Any, loc: Loc, change: Change) -> Any:  # Any: what stands in the YAML
    """A model as it was written where nothing changes, else widened."""
    model = _model(value)
    if model is None:
        return value
    changed = change(model, loc)
    return value if changed == model else changed.model_dump(mode="json", exclude_unset=True)
