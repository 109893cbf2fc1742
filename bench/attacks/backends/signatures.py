"""Reads the parameters of libraries' attacks from the libraries themselves.

``python -m bench.attacks.backends.signatures`` writes them beside the tables of names, which are read without the
libraries.
"""

from __future__ import annotations

import inspect
import json
import re
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from bench._imports import prepare_torchvision
from bench.attacks.backends.foolbox import foolbox
from bench.attacks.libraries import art, line
from bench.attacks.libraries import foolbox as foolbox_lines

DISTRIBUTIONS = {"foolbox": "foolbox", "art": "adversarial-robustness-toolbox"}
LINES = {"foolbox": foolbox_lines.LINES, "art": art.LINES}
OWNED = {"foolbox": foolbox_lines.OWNED, "art": art.OWNED}
_MODELS = ("self", "classifier", "estimator", "args", "kwargs")
_WORDS = {"int": "int", "float": "float", "bool": "bool", "str": "str", "list": "list", "tuple": "list", "None": "null"}


def declared(library: str, name: str) -> dict[str, Any]:  # Any: JSON
    """The parameters of one attack, in the order of its constructor: types or choices, and the default where it has one.

    Args:
        library: ``foolbox`` or ``art``.
        name: the attack's class.
    """
    found: dict[str, Any] = {}
    for key, parameter in inspect.signature(attack(library, name)).parameters.items():
        if key in _MODELS or key in OWNED[library]:
            continue
        one = {"types": ["str", "dict", "null"]} if key == "init_attack" else _annotated(parameter.annotation)
        if parameter.default is not inspect.Parameter.empty:
            default = parameter.default
            if not _plain(default):
                continue  # an object of the library
            one["default"] = list(default) if isinstance(default, tuple) else default
            if "types" in one and default is None and "null" not in one["types"]:
                one["types"].append("null")
        found[key] = one
    return found


def attack(library: str, name: str) -> Any:  # Any: a class of an untyped library
    """The class of an attack.

    Raises:
        AttributeError: where the installed release has none of that name.
    """
    if library == "foolbox":
        return getattr(foolbox().attacks, name)
    prepare_torchvision()
    from art.attacks import evasion

    return getattr(evasion, name)


def _annotated(annotation: Any) -> dict[str, Any]:  # Any: a type, or its text
    if isinstance(annotation, str):
        words = re.findall(r"\b(int|float|bool|str|list|tuple|None)\b(?!\[)|\b(list|tuple)\[[^]]*\]", annotation)
        names = list(dict.fromkeys(_WORDS[one or other] for one, other in words))
        return {"types": _numbers(names)}
    choices, names = [], []
    for one in get_args(annotation) if get_origin(annotation) is Union else (annotation,):
        if get_origin(one) is Literal:
            choices += list(get_args(one))
        else:
            names.append(_WORDS.get("None" if one is type(None) else getattr(one, "__name__", ""), "object"))
    return {"choices": choices} if choices and not names else {"types": _numbers(names)}


def _numbers(names: list[str]) -> list[str]:
    """A number that may be whole may be written as one."""
    return [name for name in names if not (name == "int" and "float" in names)]


def _plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_plain(one) for one in value)
    return value is None or isinstance(value, bool | int | float | str)


def everything() -> dict[str, Any]:  # Any: JSON
    """What the file holds: by library its version, and the parameters of its attacks by name."""
    return {
        library: {
            "version": metadata.version(DISTRIBUTIONS[library]),
            "attacks": {one.name: declared(library, one.name) for one in lines},
        }
        for library, lines in LINES.items()
    }


if __name__ == "__main__":
    target = Path(line.__file__).with_name("signatures.json")
    target.write_text(json.dumps(everything(), indent=1) + "\n", encoding="utf-8")
