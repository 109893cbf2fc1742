"""The JSON Schema: what an editor would say about good and bad suites."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import registry
from bench.suites.schema import json_schema

SUITES = sorted((Path(__file__).parents[2] / "suites").glob("*.yaml"))
GOOD: dict[str, Any] = {  # Any: YAML values
    "name": "demo",
    "dataset": {"name": "cifar10", "samples": 100, "layout": "nchw"},
    "threat_models": [{"norm": "linf", "eps": "8/255"}],
    "models": ["zoo:small"],
    "attacks": ["fgsm", {"name": "pgd", "steps": 20}],
}


def errors(value: object, schema: dict[str, Any], root: dict[str, Any], place: str = "") -> Iterator[str]:
    """What is wrong with a value, by the part of JSON Schema that is used here."""
    if "$ref" in schema:
        yield from errors(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, place)
    types: dict[str, Any] = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}
    kind = schema.get("type")
    if kind in types and not isinstance(value, types[kind]):
        yield f"{place}: not {kind}"
        return
    if kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, int | float)):
        yield f"{place}: not {kind}"
        return
    if kind == "integer" and not isinstance(value, int):
        yield f"{place}: not integer"
    if "const" in schema and value != schema["const"]:
        yield f"{place}: not {schema['const']}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: not one of {schema['enum']}"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{place}: doesn't match {schema['pattern']}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from _bounds(value, schema, place)
    if isinstance(value, dict):
        yield from _mapping(value, schema, root, place)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{place}: too short"
        for index, item in enumerate(value):
            yield from errors(item, schema.get("items", {}), root, f"{place}.{index}")
    yield from _combined(value, schema, root, place)


def _bounds(value: float, schema: dict[str, Any], place: str) -> Iterator[str]:
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        yield f"{place}: out of range"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{place}: out of range"


def _mapping(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], place: str) -> Iterator[str]:
    yield from (f"{place}: no {key}" for key in schema.get("required", ()) if key not in value)
    known = schema.get("properties", {})
    for key, item in value.items():
        if key in known:
            yield from errors(item, known[key], root, f"{place}.{key}")
        elif schema.get("additionalProperties") is False:
            yield f"{place}: unknown {key}"
    if len(value) < schema.get("minProperties", 0):
        yield f"{place}: too few keys"


def _combined(value: object, schema: dict[str, Any], root: dict[str, Any], place: str) -> Iterator[str]:
    def fits(branch: dict[str, Any]) -> bool:
        return not list(errors(value, branch, root, place))

    if "anyOf" in schema and not any(fits(branch) for branch in schema["anyOf"]):
        yield f"{place}: none of anyOf"
    if "oneOf" in schema and sum(fits(branch) for branch in schema["oneOf"]) != 1:
        yield f"{place}: not one of oneOf"
    if "not" in schema and fits(schema["not"]):
        yield f"{place}: excluded"
    if "if" in schema:
        yield from errors(value, schema["then" if fits(schema["if"]) else "else"], root, place)


def found(value: object) -> list[str]:
    """The errors of a suite, by the validator above and by the library where it is there."""
    schema = json_schema()
    mine = list(errors(value, schema, schema))
    if importlib.util.find_spec("jsonschema") is not None:
        validator = importlib.import_module("jsonschema").Draft202012Validator
        validator.check_schema(schema)
        assert validator(schema).is_valid(value) == (not mine)
    return mine


def changed(**sections: object) -> dict[str, Any]:
    return {key: value for key, value in {**copy.deepcopy(GOOD), **sections}.items() if value != "absent"}


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"attacks": "fgsm", "models": "zoo:small", "threat_models": "linf:8/255", "dataset": "cifar10"},
        {"attacks": [{"name": "pgd", "args": {"steps": 3}, "id": "x", "backend": "foolbox"}]},
        {"attacks": ["pgd", {"name": "pgd", "search": "strongest"}]},
        {"attacks": [{"name": "deepfool"}, "ensemble", {"name": "ensemble", "stages": ["a"]}]},
        {"threat_models": {"norm": "l2", "eps": [0.5, "1/2", 1]}},
        {"models": [{"source": "checkpoint", "weights": "w.pt", "architecture": {"name": "cnn", "depth": 3}}]},
        {"models": [{"source": "timm", "name": "x", "mean": [0.5], "std": [0.5], "architecture": "timm:resnet18"}]},
        {"defenses": ["none", None, {"name": "none"}, {"name": "jpeg", "quality": 3}]},
        {"run": {"seeds": [0, 1], "precision": "auto", "search": "strongest"}, "metrics": "clean_accuracy"},
        {"run": {"seed": 3}, "include": {"model": "a*"}, "exclude": [{"attack": ["x", "y"]}]},
        {"seeds": 3, "adversaries": "adaptive", "description": "x", "task": "classification"},
        {"extends": "base.yaml", "name": "absent", "models": "absent", "attacks": [{"name": "mine", "x": 3}]},
        {"plugins": ["p.py"], "attacks": ["mine", {"name": "mine", "x": 3}], "models": "mine:x", "metrics": ["mine"]},
        {"dataset": {"name": "npz", "path": "x.npz"}},
        {"transfer": "all"},
        {"transfer": True},
        {
            "transfer": {
                "sources": "a",
                "targets": ["b*"],
                "defenses": "none",
                "attacks": ["x"],
                "threat_models": "linf",
            }
        },
    ],
)
def test_a_good_suite_has_no_errors(sections: dict[str, object]) -> None:
    assert found(changed(**sections)) == []


@pytest.mark.parametrize(
    "sections",
    [
        {"name": "absent"},
        {"name": "a b"},
        {"models": "absent"},
        {"attack": ["fgsm"]},
        {"attacks": []},
        {"attacks": ["pdg"]},
        {"attacks": [{"steps": 3}]},
        {"attacks": [{"name": "pgd", "stepz": 3}]},
        {"attacks": [{"name": "pgd", "steps": 0}]},
        {"attacks": [{"name": "pgd", "loss": "hinge"}]},
        {"attacks": [{"name": "pgd", "backend": "other"}]},
        {"attacks": [{"name": "pgd", "args": {"stepz": 3}}]},
        {"attacks": [{"name": "ensemble", "stages": ["c"]}]},
        {"threat_models": [{"norm": "l0", "eps": 1}]},
        {"threat_models": [{"norm": "linf", "eps": 0}]},
        {"threat_models": [{"norm": "linf", "eps": "x"}]},
        {"threat_models": ["linf"]},
        {"models": ["small"]},
        {"models": [{"name": "small"}]},
        {"models": [{"source": "zoo", "nme": "small"}]},
        {"defenses": ["jpg"]},
        {"defenses": [{"name": "jpeg", "quality": 0}]},
        {"dataset": {"name": "npz"}},
        {"dataset": {"name": "cifar10", "source": "web"}},
        {"dataset": {"name": "cifar10", "samples": 0}},
        {"metrics": ["accuracy"]},
        {"adversaries": ["blind"]},
        {"run": {"sed": 3}},
        {"run": {"seeds": [-1]}},
        {"exclude": [{}]},
        {"exclude": [{"modle": "x"}]},
        {"extends": "base.yaml", "attacks": [{"name": "pgd", "stepz": 3}]},
        {"transfer": "some"},
        {"transfer": {"source": "a"}},
    ],
)
def test_a_bad_suite_has_errors(sections: dict[str, object]) -> None:
    assert found(changed(**sections)) != []


def test_every_parameter_of_every_attack_is_described() -> None:
    branch = json_schema()["$defs"]["attack_pgd"]
    assert branch["properties"]["steps"]["description"] == "gradient steps"
    assert branch["properties"]["steps"]["default"] == 10
    assert branch["properties"]["name"] == {"const": "pgd", "description": "steps (linf, l2)"}
    assert branch["properties"]["backend"]["enum"] == ["bench", "foolbox"]


def test_the_schema_is_json_and_its_references_lead_somewhere() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    assert json.loads(text) == schema
    assert set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', text)) <= set(schema["$defs"])


def test_the_names_of_the_zoo_are_completed() -> None:
    assert '"const": "zoo:small"' in json.dumps(json_schema())


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_every_suite_of_the_project_fits(path: Path, real_tables: None) -> None:
    assert found(yaml.safe_load(path.read_text())) == []


def test_the_real_tables_are_in_the_schema(real_tables: None) -> None:
    schema = json_schema()
    for kind in ("attacks", "defenses", "datasets"):
        table = registry.ALL[kind]
        for name, entry in table.entries().items():
            params = set(entry.params.model_fields) if entry.params is not None else set()
            assert params <= set(schema["$defs"][f"{table.kind}_{name}"]["properties"])
