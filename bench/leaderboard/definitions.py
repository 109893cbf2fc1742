"""What a baseline says of attacks, defenses and images by digest, and of flags by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.digests import value_digest
from bench.store.audit import Finding
from bench.store.records import Flag

_DIGEST = 12


def define(what: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> str:  # Any: JSON values
    """The key of a definition, which is put among the others."""
    key = value_digest(what)[:_DIGEST]
    definitions[key] = what
    return key


def severities(marks: Sequence[Flag | Finding]) -> dict[str, str]:
    """By rule, sorted: warnings, and what makes a number invalid."""
    found: dict[str, str] = {}
    for mark in sorted(marks, key=lambda mark: (mark.rule, mark.severity != "invalid")):
        if mark.severity != "info":
            found.setdefault(mark.rule, mark.severity)
    return found
