"""Writes docs/reference.md from the code: every key of a suite and of a recipe, every name and parameter.

python docs/generate.py           # write it
python docs/generate.py --check   # fail where it is out of date
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bench.audit.rules import RULES
from bench.registry import ALL, Entry
from bench.suites.corruptions import CorruptionSpec, CorruptionsSpec
from bench.suites.spec import (
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
from bench.suites.transfer import TransferSpec
from bench.training import TABLE as METHODS
from bench.training.method_parameters import AWPParams
from bench.training.parameters import (
    Augmentation,
    Average,
    Evaluation,
    Mix,
    Optimizer,
    Schedule,
    Strength,
    Validation,
)
from bench.training.recipe import Recipe

TARGET = Path(__file__).with_name("reference.md")
SECTIONS: dict[str, type[BaseModel]] = {
    "the suite": Suite,
    "dataset": DatasetSpec,
    "corruptions": CorruptionsSpec,
    "an item of corruptions.kinds": CorruptionSpec,
    "an item of models": ModelSpec,
    "an item of threat_models": ThreatModelSpec,
    "an item of attacks": AttackSpec,
    "an item of defenses": DefenseSpec,
    "transfer": TransferSpec,
    "an item of include and exclude": Combination,
    "run": RunOptions,
    "audit": AuditOptions,
}
RECIPE_SECTIONS: dict[str, type[BaseModel]] = {
    "the recipe": Recipe,
    **{f"method: {name}": entry.params for name, entry in METHODS.items() if entry.params is not None},
    "optimizer": Optimizer,
    "schedule": Schedule,
    "strength": Strength,
    "mix": Mix,
    "awp": AWPParams,
    "average": Average,
    "augmentation": Augmentation,
    "validation": Validation,
    "evaluation": Evaluation,
}


def kind(annotation: Any) -> str:
    """A type in the words of YAML."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(arg) for arg in args if arg is not type(None)))
    if origin in (tuple, list):
        return f"list of {kind(args[0])}"
    if origin is dict:
        return "mapping"
    if origin is not None and args:
        return kind(args[0])
    names = {
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "true or false",
        "Fraction": "number or fraction",
    }
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, "mapping" if isinstance(annotation, type) and issubclass(annotation, BaseModel) else name)


def default(field: FieldInfo) -> str:
    """A default as YAML writes it."""
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "–"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        return f"`[{', '.join(getattr(item, 'name', None) or str(item) for item in value)}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value or (repr(value) if value != {} else '{}')}`"


def table(model: type[BaseModel]) -> list[str]:
    """The parameters of one model as a Markdown table."""
    rows = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        rows.append(
            f"| `{name}` | {kind(field.annotation)} | {default(field)} | {field.description or ''} |".replace("  ", " ")
        )
    return rows


def text() -> str:
    """The whole page."""
    lines = [
        "# Reference",
        "",
        "Made by `python docs/generate.py` from the code; don't edit.",
        "",
        "## Keys of a suite",
        "",
    ]
    for title, model in SECTIONS.items():
        lines += [f"### {title}", "", *table(model), ""]
    lines += ["## Keys of a recipe", ""]
    for title, model in RECIPE_SECTIONS.items():
        lines += [f"### {title}", "", *table(model), ""]
    for name, registry in ALL.items():
        lines += [f"## {name}", ""]
        named = {key: entry for key, entry in registry.entries().items() if "." in key}
        for key, entry in registry.entries().items():
            if key in named:
                continue
            lines += [f"### {key}", "", f"{entry.summary[0].upper()}{entry.summary[1:]}."]
            if entry.norms:
                lines += ["", f"Norms: {', '.join(entry.norms)}."]
            if entry.paper:
                lines += ["", f"Paper: {entry.paper}."]
            if entry.params is not None and entry.params.model_fields:
                lines += ["", *table(entry.params)]
            lines.append("")
        lines += _libraries(name, named) if named else []
    lines += ["## rules", "", "What the audit looks for ([audit.md](audit.md) says how).", ""]
    for rule in RULES:
        lines += [f"### {rule.id}", "", f"{rule.title[0].upper()}{rule.title[1:]}.", "", rule.means, ""]
        lines += [f"What to do: {rule.advice}.", "", f"Source: {rule.source}.", ""]
    return "\n".join(lines).rstrip() + "\n"


def _libraries(noun: str, named: dict[str, Entry]) -> list[str]:
    """Names of libraries' things, one row each: their parameters are the libraries' own."""
    first = "kind" if noun == "defenses" else "norms"
    second = "declares" if noun == "defenses" else "kind"
    lines = [f"### {noun} of libraries", "", "`bench show NAME` says their parameters and defaults.", ""]
    lines += [f"| name | {first} | {second} | what it does | paper |", "| --- | --- | --- | --- | --- |"]
    for key, entry in named.items():
        if "alias" in entry.facts:
            lines.append(f"| `{key}` | | | another name for `{entry.facts['alias']}` | |")
            continue
        what = _declared(entry) if noun == "defenses" else _asked(entry)
        lines.append(f"| `{key}` | {' | '.join(what)} | {entry.summary} | {entry.paper} |")
    return [*lines, ""]


def _asked(entry: Entry) -> tuple[str, str]:
    """Of an attack: its norms, what it asks for and what it looks for."""
    smallest = entry.facts.get("minimum_norm")
    return ", ".join(entry.norms), f"{entry.facts['kind']}, {'minimum-norm' if smallest else 'fixed-eps'}"


def _declared(entry: Entry) -> tuple[str, str]:
    """Of a defense: its kind and what it declares of itself."""
    words = [word for word in ("differentiable", "stochastic", "rejects") if entry.facts.get(word)]
    return str(entry.facts["kind"]), ", ".join(words) or "–"


def main() -> None:
    """Writes or checks."""
    parser = argparse.ArgumentParser(description="Write docs/reference.md from the code.")
    parser.add_argument("--check", action="store_true", help="fail where the page is out of date")
    if parser.parse_args().check:
        if not TARGET.is_file() or TARGET.read_text(encoding="utf-8") != text():
            sys.exit("docs/reference.md is out of date: python docs/generate.py")
        return
    TARGET.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
