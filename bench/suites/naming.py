"""Names for tables: every model, attack and defense of a suite gets an id that is readable and its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench import registry
from bench.errors import UnknownNameError
from bench.registry import Entry, Registry
from bench.suites.cells import digest
from bench.suites.references import MODEL_PATHS, words
from bench.suites.short_forms import model_id
from bench.suites.spec import AttackSpec, DefenseSpec, ModelSpec, RunOptions, Suite

_S = TypeVar("_S", AttackSpec, DefenseSpec, ModelSpec)
_MODEL_FIELDS = ("source", "threat_model", "architecture", *MODEL_PATHS, "key", "architecture_args", "args")


def resolve(suite: Suite) -> Suite:
    """The suite with every id, every default of a parameter and every backend filled in.

    Ids made here are unique; ids that the user set stay. Names that no table knows and parameters that don't fit are
    left as they are: :func:`bench.suites.check.check` names them. Resolving twice changes nothing.
    """
    limit = suite.run.time_limit
    attacks = [
        attack if attack.time_limit is not None else attack.model_copy(update={"time_limit": limit})
        for attack in (_with_backend(_with_defaults(attack, registry.attacks)) for attack in suite.attacks)
    ]
    defenses = [_with_draws(_filled(defense), suite.run) for defense in suite.defenses]
    return suite.model_copy(
        update={
            "attacks": _with_ids(attacks, attack_ids(suite.attacks)),
            "defenses": _with_ids(defenses, defense_ids(suite.defenses)),
            "models": _with_ids(suite.models, model_ids(suite.models)),
        }
    )


def attack_ids(attacks: Sequence[AttackSpec]) -> list[str]:
    """The ids of a suite's attacks, in their order: ``pgd-20``, and what differs where two would be the same."""
    filled = [_with_backend(_with_defaults(attack, registry.attacks)) for attack in attacks]
    return _unique(
        [attack.id or _attack_name(attack) for attack in filled],
        [attack.id is None for attack in filled],
        [{"backend": attack.backend or "", "search": attack.search or "", **_arg_texts(attack)} for attack in filled],
    )


def defense_ids(defenses: Sequence[DefenseSpec]) -> list[str]:
    """The ids of a suite's defenses, in their order: ``jpeg-quality75`` where the quality was given."""
    filled = [_filled(defense) for defense in defenses]
    return _unique(
        [defense.id or _defense_name(defense) for defense in defenses],
        [defense.id is None for defense in defenses],
        [_defense_texts(defense) for defense in filled],
    )


def model_ids(models: Sequence[ModelSpec]) -> list[str]:
    """The ids of a suite's models, in their order."""
    texts = [_model_texts(model) for model in models]
    return _unique([model.id for model in models], [_auto(model) for model in models], texts)


def _with_ids(specs: Sequence[_S], ids: Sequence[str]) -> tuple[_S, ...]:
    return tuple(spec.model_copy(update={"id": new}) for spec, new in zip(specs, ids, strict=True))


def entry_of(table: Registry[Any], name: str) -> Entry | None:  # Any: what stands behind a name doesn't matter here
    """The line of a name, or ``None`` where no table knows it."""
    try:
        return table.entry(name)
    except UnknownNameError:
        return None


def with_defaults(params: type[BaseModel] | None, args: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """Parameters with their defaults filled in, as JSON values.

    Raises:
        ValidationError: where they don't fit.
    """
    if params is None:
        return dict(args)
    filled: dict[str, Any] = params.model_validate(dict(args)).model_dump(mode="json")
    return filled


def _with_defaults(spec: _S, table: Registry[Any]) -> _S:
    entry = entry_of(table, str(spec.name))
    if entry is None:
        return spec
    try:
        return spec.model_copy(update={"args": with_defaults(entry.params, spec.args)})
    except ValidationError:
        return spec


def _with_backend(attack: AttackSpec) -> AttackSpec:
    entry = entry_of(registry.attacks, attack.name)
    backend = entry.facts.get("backend") if entry is not None else None
    return (
        attack if attack.backend is not None or backend is None else attack.model_copy(update={"backend": str(backend)})
    )


def _attack_name(attack: AttackSpec) -> str:
    """``pgd-20`` where the attack has steps, else its name."""
    steps = attack.args.get("steps")
    return attack.name if steps is None or isinstance(steps, bool | list | dict) else _clean(f"{attack.name}-{steps}")


def _defense_name(defense: DefenseSpec) -> str:
    """``jpeg-quality75``: the name and what the user wrote beside it; ``jpeg+median_blur`` for a chain."""
    if defense.chain:
        return _clean("+".join(link.id or _defense_name(link) for link in defense.chain))
    known = words(defense)
    texts = (f"{key}{known.get(key) or _short(value)}" for key, value in defense.args.items())
    return _clean("-".join([defense.name, *texts]))


def _filled(defense: DefenseSpec) -> DefenseSpec:
    """With every default of its parameters, and of those of a chain's links."""
    if not defense.chain:
        return _without_own(_with_defaults(defense, registry.defenses))
    return _without_own(defense.model_copy(update={"chain": tuple(_filled(link) for link in defense.chain)}))


def _without_own(defense: DefenseSpec) -> DefenseSpec:
    """``surrogate: own`` is what no surrogate means."""
    return defense.model_copy(update={"surrogate": None}) if defense.surrogate == "own" else defense


def _with_draws(defense: DefenseSpec, run: RunOptions) -> DefenseSpec:
    """With the draws of the run, where the defense is stochastic and names none itself; without any where it isn't."""
    entries = [entry for link in defense.links if (entry := entry_of(registry.defenses, link.name)) is not None]
    own = [entry.facts for entry in entries if entry.facts.get("stochastic")]
    draws = {}
    for key in ("eot_iter", "scoring_draws"):
        # One whose single draw is a vote already has fewer of its own.
        most = min((int(facts.get(key, getattr(run, key))) for facts in own), default=None)
        draws[key] = (getattr(defense, key) or most) if own else None
    return defense.model_copy(update=draws)


def _defense_texts(defense: DefenseSpec) -> dict[str, str]:
    """What tells two defenses apart whose names are the same."""
    texts = {
        f"{place}{key}": text for place, link in enumerate(defense.chain) for key, text in _arg_texts(link).items()
    }
    own = {key: getattr(defense, key) for key in ("surrogate", "eot_iter", "scoring_draws")}
    return {**texts, **_arg_texts(defense), **{key: f"{key}{value}" for key, value in own.items() if value is not None}}


def _auto(model: ModelSpec) -> bool:
    return model.id == model_id(model.model_dump(include={"name", "weights", "recipe", "source"}))


def _arg_texts(spec: AttackSpec | DefenseSpec) -> dict[str, str]:
    known = words(spec, folders=True) if isinstance(spec, DefenseSpec) else {}
    return {key: "" if value is None else f"{key}{known.get(key) or _short(value)}" for key, value in spec.args.items()}


def _model_texts(model: ModelSpec) -> dict[str, str]:
    texts = {field: _short(getattr(model, field) or "") for field in _MODEL_FIELDS}
    for key in ("weights", "recipe"):
        path = PurePath((getattr(model, key) or "").replace("\\", "/"))
        texts[key] = f"{path.parent.name}{path.suffix}"
    return texts


def _unique(names: Sequence[str], automatic: Sequence[bool], texts: Sequence[Mapping[str, str]]) -> list[str]:
    """Adds what differs to the automatic ids that collide, and a number where nothing does.

    Args:
        names: the ids so far.
        automatic: which of these were made here and may change.
        texts: what each may be extended with, by parameter.
    """
    ids = list(names)
    for lower in {name.lower() for name in names}:
        group = [index for index, name in enumerate(names) if name.lower() == lower]
        keys = dict.fromkeys(key for index in group for key in texts[index])
        differing = [key for key in keys if len({texts[index].get(key) for index in group}) > 1]
        for index in group:
            if automatic[index]:
                parts = [texts[index].get(key, "") for key in differing]
                ids[index] = _clean("-".join([names[index], *(part for part in parts if part)]))
    taken = {ids[index].lower() for index, own in enumerate(automatic) if not own}
    for index, own in enumerate(automatic):
        if own:
            ids[index] = _numbered(ids[index], taken)
            taken.add(ids[index].lower())
    return ids


def _numbered(name: str, taken: set[str]) -> str:
    number = 2
    candidate = name
    while candidate.lower() in taken:
        candidate = f"{name[:95]}-{number}"
        number += 1
    return candidate


def _short(value: object) -> str:
    """A parameter's value for an id."""
    if isinstance(value, bool):
        return "" if value else "=false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "_".join(_short(item) for item in value)
    return str(digest(value)[:6]) if isinstance(value, Mapping) else str(value)


def _clean(name: str) -> str:
    """Only what an id may hold, and at most 60 characters; a long one is cut and keeps a digest."""
    clean = re.sub(r"[^A-Za-z0-9_.+=-]+", "-", name).strip("-_.+=") or "unnamed"
    return clean if len(clean) <= 60 else f"{clean[:50].rstrip('-_.+=')}-{digest(name)[:8]}"
