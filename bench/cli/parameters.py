"""Parameters and facts of a line of a table of names, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

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
        kind = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
        kind = kind.replace("typing.", "").replace("None", "null")
        lines.append(f"{key}: {kind} = {default}  {field.description or ''}".rstrip())
    return lines


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
