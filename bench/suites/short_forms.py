"""The short forms of a suite (``- fgsm``, ``eps: 8/255``, ``robustbench:Wong2020Fast``) and what they are short for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+=-]{0,99}")
_RADIUS = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?(/\d{1,30})?", re.ASCII)
_FILES = {"checkpoint": "weights", "trained": "weights", "recipe": "recipe"}
"""Sources whose short form names a file, and the key that it stands for."""
LISTS = ("plugins", "threat_models", "models", "attacks", "defenses", "adversaries", "metrics", "include", "exclude")
"""Sections that are lists; one value alone is a list of one."""


def parse_eps(value: object) -> Fraction:
    """The exact radius of ``"8/255"``, ``0.5`` or ``"0.031"``.

    Raises:
        ValueError: for anything else, or a radius that isn't above 0.
    """
    if isinstance(value, Fraction):
        eps = value
    elif isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"eps must be a number or a fraction such as 8/255, got {value!r}")
    else:
        text = str(value).replace(" ", "")
        try:
            if not _RADIUS.fullmatch(text):  # Fraction("1e999999999") would never end
                raise ValueError
            eps = Fraction(text)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"eps must be a number or a fraction such as 8/255, got {value!r}") from None
    if eps <= 0:
        raise ValueError(f"eps must be above 0, got {value!r}")
    return eps


def format_eps(eps: Fraction) -> str:
    """As people write it: ``0.3`` where three decimals say it exactly, else ``8/255`` where it is one, else a decimal."""
    if 1000 % eps.denominator and 255 % eps.denominator == 0:
        return f"{eps.numerator * (255 // eps.denominator)}/255"
    return f"{float(eps):g}"


def identifier(value: str) -> str:
    """The id, if it may be one.

    Raises:
        ValueError: for anything that couldn't be part of a file's name.
    """
    if not _IDENTIFIER.fullmatch(value):
        raise ValueError(
            f"an id is at most 100 letters, digits and _ . + = -, and starts with a letter or digit, got {value!r}"
        )
    return value


def split_threat_model(text: str) -> dict[str, str]:
    """Widens ``"linf:8/255"``.

    Raises:
        ValueError: where there is no colon.
    """
    norm, _, eps = text.partition(":")
    if not eps:
        raise ValueError(f"a threat model in short is norm:eps, such as linf:8/255, got {text!r}")
    return {"norm": norm.strip(), "eps": eps.strip()}


def split_model(text: str) -> dict[str, str]:
    """Widens ``"zoo:mnist_pgd"``.

    What follows ``checkpoint:`` or ``trained:`` is the file of weights, what follows ``recipe:`` that of the recipe.
    """
    source, colon, name = text.partition(":")
    if not colon:
        return {"source": source}
    return {"source": source, _FILES.get(source, "name"): name}


def model_id(value: Mapping[str, Any]) -> str:  # Any: what stands in the YAML
    """The id of a model that was given none: its name, else its file of weights or its recipe, else its source."""
    file = str(value.get("weights") or value.get("recipe") or "")
    stem = file.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
    candidate = str(value.get("name") or stem or value.get("source") or "")
    return re.sub(r"[^A-Za-z0-9_.+=-]+", "-", candidate).strip("-_.+=")[:100] or "model"


def named(value: object) -> object:
    """Widens ``"fgsm"`` to ``{"name": "fgsm"}``."""
    return {"name": value} if isinstance(value, str) else value


def fold_args(value: object, own: frozenset[str]) -> object:
    """Moves the parameters written beside ``name`` into ``args``."""
    if not isinstance(value, Mapping):
        return value
    args = value.get("args", {})
    if not isinstance(args, Mapping):
        return value
    beside = {str(key): item for key, item in value.items() if key not in own}
    both = sorted(set(beside) & set(args))
    if both:
        raise ValueError(f"given twice, beside name and in args: {', '.join(both)}")
    kept = {key: item for key, item in value.items() if key in own}
    return {**kept, "args": {**args, **beside}}


def each_eps(item: object) -> list[Any]:  # Any: what stands in the YAML
    """One threat model per radius where ``eps`` is a list; an empty list stays, to be refused."""
    if isinstance(item, Mapping) and isinstance(item.get("eps"), list | tuple) and item["eps"]:
        return [{**item, "eps": eps} for eps in item["eps"]]
    return [item]
