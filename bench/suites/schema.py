"""The JSON Schema of a suite, for editors that complete and check YAML: ``bench schema``.

It is made from the specs and the tables of names, so it can't fall behind them. A file that names plugins or extends
another may use names that aren't known here and leave sections to its base; every other file is held to the tables.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel

from bench import registry
from bench.registry import Entry, Registry
from bench.suites.corruptions import ALL, NAMES, SEVERITIES, CorruptionSpec, CorruptionsSpec
from bench.suites.spec import (
    CHAIN,
    Adversary,
    AttackSpec,
    AuditOptions,
    Combination,
    DatasetSpec,
    DefenseSpec,
    ModelSpec,
    RunOptions,
    Suite,
    ThreatModelSpec,
)
from bench.suites.transfer import ALL as EVERYTHING
from bench.suites.transfer import TransferSpec

Schema: TypeAlias = "dict[str, Any]"  # Any: JSON values

_RADIUS = r"^\s*\+?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?(\s*/\s*\d+)?\s*$"
_ATTACKED = ("threat_models", "attacks")
"""What a suite of corruptions alone doesn't have."""
_REQUIRED = [name for name, field in Suite.model_fields.items() if field.is_required()]


def json_schema() -> dict[str, Any]:  # Any: JSON values
    """The JSON Schema (draft 2020-12) of a suite, with every known name and its parameters."""
    defs: Schema = {}
    strict, loose = _sections(defs, strict=True), _sections(defs, strict=False)
    common = {
        "name": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_.+=-]{0,99}$",
            "description": _about(Suite, "name"),
        },
        "description": {"type": "string", "description": _about(Suite, "description")},
        "task": {"enum": ["classification"], "description": _about(Suite, "task")},
        "plugins": _listed(_text(), _about(Suite, "plugins")),
        "threat_models": _listed(_threat_model(), _about(Suite, "threat_models")),
        "adversaries": _listed({"enum": list(get_args(Adversary))}, _about(Suite, "adversaries")),
        "include": _listed(_combination(), _about(Suite, "include")),
        "exclude": _listed(_combination(), _about(Suite, "exclude")),
        "run": _run(),
        "audit": _audit(),
        "corruptions": _corruptions(),
        "transfer": _transfer(),
        "seeds": _seeds("attack seeds, the same as run.seeds"),
        "extends": _listed(
            _text(), "a suite that this one builds on, relative to this file; a list is merged in order"
        ),
    }
    known = {name: {"description": _about(Suite, name)} for name in strict}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A suite of bench: what to evaluate",
        "type": "object",
        "properties": {**common, **known},
        "additionalProperties": False,
        "if": {"anyOf": [{"required": ["plugins"]}, {"required": ["extends"]}]},
        "then": {"properties": loose},
        "else": {
            "properties": strict,
            "anyOf": [
                {"required": _REQUIRED},
                {"required": [*(name for name in _REQUIRED if name not in _ATTACKED), "corruptions"]},
            ],
        },
        "$defs": defs,
    }


def _sections(defs: Schema, *, strict: bool) -> Schema:
    """The sections that hold names, either only the known ones or any."""
    none = {"none": Entry("", "the bare model")}
    attacks, defenses = registry.attacks, registry.defenses
    dataset = _named(registry.datasets, DatasetSpec, defs, strict=strict)
    defended = _named(defenses, DefenseSpec, defs, strict=strict, more=none)
    defended["oneOf"].append(_chain(defended["oneOf"]))
    return {
        "calibration": {**dataset, "description": _about(Suite, "calibration")},
        "dataset": {**dataset, "description": _about(Suite, "dataset")},
        "models": _listed(_model(strict=strict), _about(Suite, "models")),
        "attacks": _listed(_named(attacks, AttackSpec, defs, strict=strict), _about(Suite, "attacks")),
        "defenses": _listed(defended, _about(Suite, "defenses")),
        "metrics": _listed(_name(registry.metrics.entries(), strict=strict), _about(Suite, "metrics")),
    }


def _named(
    table: Registry[Any], spec: type[BaseModel], defs: Schema, *, strict: bool, more: Mapping[str, Entry] | None = None
) -> Schema:  # Any: what stands behind a name doesn't matter here
    """A name alone, or a mapping with the name and its parameters: one branch per name."""
    own = {key: value for key, value in _properties(spec).items() if key not in ("name", "args", "chain")}
    entries = {**(more or {}), **table.entries()}
    branches: list[Schema] = []
    for name, entry in entries.items():
        key = f"{table.kind}_{name}"
        defs[key] = _branch(name, entry, own, key, defs)
        branches.append({"$ref": f"#/$defs/{key}"})
    if not strict:
        unknown = {"name": {"type": "string", "not": {"enum": [*entries, CHAIN]}}}
        branches.append({"type": "object", "properties": unknown, "required": ["name"]})
    empty = [{"type": "null"}] if "none" in entries else []  # YAML's own word for it
    return {"oneOf": [_name(entries, strict=strict), *branches, *empty]}


def _chain(links: Sequence[Schema]) -> Schema:
    """The mapping form of several defenses in a row."""
    own = {key: value for key, value in _properties(DefenseSpec).items() if key not in ("name", "args")}
    chain = {"type": "array", "items": {"oneOf": list(links)}, "minItems": 1}
    about = _about(DefenseSpec, "chain")
    return {
        "title": CHAIN,
        "type": "object",
        "properties": {**own, "name": {"const": CHAIN}, "chain": {**chain, "description": about}},
        "required": ["chain"],
        "additionalProperties": False,
    }


def _branch(name: str, entry: Entry, own: Schema, key: str, defs: Schema) -> Schema:
    """The mapping form of one name: our keys, and its parameters beside the name or in ``args``."""
    params = _params(entry.params, key, defs)
    for name in entry.facts.get("takes_models", ()):
        params[name] = _listed(_model(strict=False), params[name].get("description", ""))
        defs.pop(f"{key}_{ModelSpec.__name__}", None)
    own = copy.deepcopy(own)
    for fact, field in (("backends", "backend"), ("sources", "source"), ("splits", "split")):
        if entry.facts.get(fact) and field in own:
            own[field] = {**_described(own[field]), "enum": list(entry.facts[fact])}
    declared = entry.params is not None or entry.origin == "bench"  # others may take what they don't declare
    args = {"type": "object", "properties": params, "additionalProperties": not declared}
    about = {"description": _summary(entry)}
    return {
        "title": name,
        **about,
        "type": "object",
        "properties": {"name": {"const": name, **about}, **own, **_without(params, own), "args": args},
        "required": ["name", *(need for need in entry.facts.get("needs", ()) if need in own)],
        "additionalProperties": not declared,
    }


def _params(params: type[BaseModel] | None, key: str, defs: Schema) -> Schema:
    """The schemas of parameters; what they refer to moves into our definitions."""
    if params is None:
        return {}
    schema = params.model_json_schema()
    for name, inner in schema.pop("$defs", {}).items():
        defs[f"{key}_{name}"] = _moved(inner, key)
    properties: Schema = _moved(schema.get("properties", {}), key)
    return {name: _without(value, ("title",)) for name, value in properties.items()}


def _moved(value: Any, key: str) -> Any:  # Any: JSON values
    if isinstance(value, dict):
        return {
            name: f"#/$defs/{key}_{inner.removeprefix('#/$defs/')}"
            if name == "$ref" and isinstance(inner, str)
            else _moved(inner, key)
            for name, inner in value.items()
        }
    return [_moved(item, key) for item in value] if isinstance(value, list) else value


def _name(entries: Mapping[str, Entry], *, strict: bool) -> Schema:
    """One of the known names, each with its summary."""
    known: list[Schema] = [{"const": name, "description": _summary(entry)} for name, entry in entries.items()]
    return {"anyOf": known} if strict else {"anyOf": [*known, _text()]}


def _model(*, strict: bool) -> Schema:
    own = {key: value for key, value in _properties(ModelSpec).items() if key != "source"}
    sources = registry.models.entries()
    architectures = _name(registry.architectures.entries(), strict=False)
    own["architecture"] = {
        **_described(own["architecture"]),
        "anyOf": [*architectures["anyOf"], {"type": "object", "required": ["name"], "properties": {"name": _text()}}],
    }
    own["source"] = {**_name(sources, strict=strict), "description": _about(ModelSpec, "source")}
    short: Schema = {
        "type": "string",
        "pattern": f"^({'|'.join(sources)}):.+$" if strict else "^.+$",
        "description": "source:name, such as " + ", ".join(f"{source}:..." for source in sources),
    }
    listed = [
        {"const": f"{source}:{name}"} for source, entry in sources.items() for name in entry.facts.get("models", ())
    ]
    mapping = {"type": "object", "properties": own, "required": ["source"], "additionalProperties": False}
    return {"anyOf": [*listed, short, mapping]}


def _threat_model() -> Schema:
    norms = list(importlib.import_module("bench.threat_models").TABLE)
    radius: Schema = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": _RADIUS}]}
    eps = {**_listed(radius, _about(ThreatModelSpec, "eps")), "examples": ["8/255", 0.5]}
    properties = {"norm": {"enum": norms, "description": _about(ThreatModelSpec, "norm")}, "eps": eps}
    mapping = {"type": "object", "properties": properties, "required": ["norm", "eps"], "additionalProperties": False}
    short = {"type": "string", "pattern": f"^({'|'.join(norms)}):", "examples": ["linf:8/255"]}
    return {"anyOf": [short, mapping]}


def _combination() -> Schema:
    properties = {name: _listed(_text(), _about(Combination, name)) for name in Combination.model_fields}
    return {"type": "object", "properties": properties, "additionalProperties": False, "minProperties": 1}


def _run() -> Schema:
    properties = _properties(RunOptions)
    properties["seeds"] = _seeds(_about(RunOptions, "seeds"))
    properties["seed"] = {"type": "integer", "minimum": 0, "description": "one attack seed"}
    about = _about(Suite, "run")
    return {"type": "object", "properties": properties, "additionalProperties": False, "description": about}


def _audit() -> Schema:
    return {
        "type": "object",
        "properties": _properties(AuditOptions),
        "additionalProperties": False,
        "description": _about(Suite, "audit"),
    }


def _corruptions() -> Schema:
    """``all``, names, or a mapping with kinds, path and seed."""
    severities = _listed({"enum": list(SEVERITIES)}, _about(CorruptionSpec, "severities"))
    name = {"enum": list(NAMES)}
    kind = {
        "type": "object",
        "properties": {"name": name, "severities": severities},
        "required": ["name"],
        "additionalProperties": False,
    }
    kinds = _listed({"anyOf": [{"enum": [ALL, *NAMES]}, kind]}, _about(CorruptionsSpec, "kinds"))
    own = _properties(CorruptionsSpec)
    properties = {**own, "kinds": kinds, "severities": severities}
    mapping = {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        "description": _about(Suite, "corruptions"),
        "anyOf": [*kinds["anyOf"][:1], {"enum": [ALL, *NAMES]}, mapping],
    }


def _transfer() -> Schema:
    """``all``, or a selection."""
    fields = TransferSpec.model_fields
    selection = {
        "type": "object",
        "properties": {name: _listed(_text(), _about(TransferSpec, name)) for name in fields},
        "additionalProperties": False,
    }
    return {
        "description": _about(Suite, "transfer"),
        "anyOf": [{"const": EVERYTHING}, {"type": "boolean"}, {"type": "null"}, selection],
    }


def _seeds(about: str) -> Schema:
    return _listed({"type": "integer", "minimum": 0}, about)


def _listed(item: Schema, about: str) -> Schema:
    """One value, or a list of them."""
    return {"description": about, "anyOf": [{"type": "array", "items": item, "minItems": 1}, item]}


def _text() -> Schema:
    return {"type": "string"}


def _properties(spec: type[BaseModel]) -> Schema:
    """The fields of a spec, as pydantic writes them, without titles."""
    schema = spec.model_json_schema()
    if "properties" not in schema:  # one that refers to itself
        schema = schema["$defs"][spec.__name__]
    properties: Schema = schema["properties"]
    return {name: _without(value, ("title",)) for name, value in properties.items()}


def _about(spec: type[BaseModel], name: str) -> str:
    return spec.model_fields[name].description or ""


def _described(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key in ("description", "default")}


def _summary(entry: Entry) -> str:
    under = f" ({', '.join(entry.norms)})" if entry.norms else ""
    return f"{entry.summary}{under}" + (f". {entry.paper}" if entry.paper else "")


def _without(schema: Schema, keys: Iterable[str]) -> Schema:
    left_out = set(keys)
    return {key: value for key, value in schema.items() if key not in left_out}
