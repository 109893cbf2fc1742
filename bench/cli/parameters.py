"""Parameters and facts of a line of a table of names, for people."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Union, get_args, get_origin

if TYPE_CHECKING:
    from bench.registry import Entry


def defaults(entry: Entry) -> dict[str, str]:
    """Every parameter with its default as it would stand in a suite; ``required`` where it has none."""
    if entry.params is None:
        return {}
    return {
        key: "required" if field.is_required() else written(field.get_default(call_default_factory=True))
        for key, field in entry.params.model_fields.items()
    }


def described(entry: Entry) -> list[str]:
    """A line per parameter: its type, its default, what it does."""
    if entry.params is None:
        return []
    lines = []
    for (key, default), field in zip(defaults(entry).items(), entry.params.model_fields.values(), strict=True):
        lines.append(f"{key}: {_kind(field.annotation)} = {default}  {field.description or ''}".rstrip())
    return lines


def _kind(annotation: object) -> str:
    """A type as people write it, without what pydantic keeps beside it."""
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(_kind(one) for one in get_args(annotation))
    if annotation is NoneType:
        return "null"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace("None", "null")


def written(value: object) -> str:
    """A value in the words of YAML, nested ones on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        items = (
            (key, f"{{{written(item)}}}" if isinstance(item, Mapping) else written(item)) for key, item in value.items()
        )
        return ", ".join(f"{key}: {item}" for key, item in items)
    if isinstance(value, list | tuple):
        return ", ".join(written(item) for item in value) or "[]"
    return str(value)
