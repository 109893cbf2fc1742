"""Pydantic's errors as problems that a user can act on: file, line, key, the value, what would be accepted."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bench.errors import Problem, nearest
from bench.suites.short_forms import LISTS
from bench.suites.sources import Loc, Sources
from bench.suites.spec import Suite

_TYPES = {
    "string_type": "text",
    "string_unicode": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "none_required": "null",
}
_ALSO: dict[Loc, tuple[str, ...]] = {(): ("extends", "seeds"), ("run",): ("seed",)}
"""Keys that widening takes away before pydantic sees them."""
_TWICE: dict[Loc, str] = {
    ("seeds",): "give seeds at the top or under run, not both",
    ("run", "seed"): "give seed or seeds, not both",
}
"""Keys that widening leaves where they say what another key says too."""


def shown(value: object) -> str:
    """A value as it stands in the file, shortened."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def problems_of(
    error: ValidationError, sources: Sources, *, model: type[BaseModel] = Suite, base: Loc = (), owner: str = ""
) -> list[Problem]:
    """Pydantic's errors in words, one for each place.

    Args:
        error: what pydantic raised.
        sources: the lines that the values were read from.
        model: the model that was validated.
        base: where in the suite it stands.
        owner: whose parameters these are, such as ``"the attack pgd"``; empty for the suite's own keys.
    """
    places: dict[Loc, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        places.setdefault(_keys_only(detail["loc"]), []).append(detail)
    problems: list[Problem] = []
    for loc, details in places.items():
        kinds = {detail["type"] for detail in details}
        deeper = any(len(other) > len(loc) and other[: len(loc)] == loc for other in places)
        if kinds == {"too_short"} and deeper:
            continue  # pydantic counts only the items that are right
        message, accepted = _words(loc, details, model, owner)
        problems.append(sources.problem((*base, *loc), message, accepted))
    return problems


def _keys_only(loc: tuple[int | str, ...]) -> Loc:
    """A place without pydantic's names for the branches of a union, such as ``list[str]``."""
    kept: list[int | str] = []
    for part in loc:
        if (
            isinstance(part, str)
            and kept
            and (part in ("str", "int", "float", "bool", "none") or "[" in part or "(" in part)
        ):
            break
        kept.append(part)
    return tuple(kept)


def _words(loc: Loc, details: list[ErrorDetails], model: type[BaseModel], owner: str) -> tuple[str, str]:
    """What is wrong at one place, and what would be accepted."""
    detail = details[0]
    kind, value = detail["type"], detail["input"]
    context: Mapping[str, Any] = detail.get("ctx", {})
    name = str(loc[-1]) if loc else ""
    if kind == "extra_forbidden":
        known = _keys_of(model, loc[:-1])
        if owner:
            accepted = ", ".join(known) if known else f"no parameters: {owner} has none"
            return f"unknown parameter {name!r} of {owner}, got {shown(value)}{nearest(name, known)}", accepted
        if model is Suite and loc in _TWICE:
            return _TWICE[loc], "one of the two"
        known += _ALSO.get(loc[:-1], ()) if model is Suite else ()
        return f"unknown key {name!r}, got {shown(value)}{nearest(name, known)}", ", ".join(known)
    if kind == "missing":
        whose = f" of {owner}" if owner else ""
        return f"{name!r}{whose} is missing", _description(model, loc) or "a value"
    if len(details) > 1:
        accepted = " or ".join(dict.fromkeys(_TYPES.get(one["type"], one["msg"]) for one in details))
        return f"wrong value, got {shown(value)}", accepted
    if kind in _TYPES:
        return f"wrong type, got {shown(value)}", _TYPES[kind] + _hint(value, kind)
    return _constraint(kind, value, context, detail["msg"], _description(model, loc))


def _constraint(kind: str, value: object, context: Mapping[str, Any], text: str, description: str) -> tuple[str, str]:
    if kind == "literal_error":
        return f"wrong value, got {shown(value)}", str(context["expected"]).replace("'", "")
    for bound, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below")):
        if bound in context:
            return f"out of range, got {shown(value)}", f"{words} {context[bound]:g}"
    if kind == "too_short":
        return f"too few items, got {shown(value)}", f"at least {context['min_length']}"
    if kind == "too_long":
        return f"too many items, got {shown(value)}", f"at most {context['max_length']}"
    if kind == "value_error":
        return str(context.get("error", text)), "" if isinstance(value, Mapping) else description
    if kind == "string_pattern_mismatch":
        return f"wrong form, got {shown(value)}", description or f"text that matches {context['pattern']}"
    return f"{text}, got {shown(value)}", description


def _hint(value: object, kind: str) -> str:
    if kind.startswith("string") and isinstance(value, bool | int | float):
        return "; put it in quotes if it is meant as text"
    return ""


def _spec_at(model: type[BaseModel], loc: Loc) -> type[BaseModel] | None:
    """The pydantic model of a mapping inside another."""
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, int):
            continue
        if current is None or part not in current.model_fields:
            return None
        current = _model_in(current.model_fields[part].annotation)
    return current


def _model_in(annotation: object) -> type[BaseModel] | None:
    if inspect.isclass(annotation) and typing.get_origin(annotation) is None and issubclass(annotation, BaseModel):
        return annotation
    for inner in typing.get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _keys_of(model: type[BaseModel], loc: Loc) -> tuple[str, ...]:
    spec = _spec_at(model, loc)
    return tuple(spec.model_fields) if spec is not None else ()


def _description(model: type[BaseModel], loc: Loc) -> str:
    """What the field at a place is for; for an item of a list, what the list is for."""
    names = [part for part in loc if isinstance(part, str)]
    if not names:
        return ""
    spec = _spec_at(model, tuple(names[:-1]))
    field = spec.model_fields.get(names[-1]) if spec is not None else None
    text = (field.description or "") if field is not None else ""
    return f"a list: {text}" if text and names == list(loc) and names[-1] in LISTS and model is Suite else text
