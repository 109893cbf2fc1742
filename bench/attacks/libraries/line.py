"""One attack of a library as the tables of names know it: what it is, and which parameters it takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import ConfigDict, Field, create_model

from bench.attacks.parameters import AttackParams
from bench.registry import Entry

_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "null": None,
    "list": tuple[Any, ...],
    "dict": dict[str, Any],
}
_BUDGET = "the most queries for each image; what was found later doesn't count; null for no limit"
_MEANINGS = {
    "abs_stepsize": "step size in [0, 1] units; rel_stepsize times eps where it isn't given",
    "abort_early": "end a search that makes no progress",
    "binary_search_steps": "searches for the balance of distance and loss, or steps of a bisection",
    "candidates": "classes that are looked at, those of largest logits; null for all",
    "confidence": "margin that a success must have",
    "decision_rule": "which success is the nearest: by the elastic net or by L1",
    "init_attack": "what finds a first adversarial point: another of foolbox's minimum-norm attacks, or {name: it, ...}",
    "initial_const": "first weight of the loss against the distance",
    "initial_stepsize": "first step size",
    "learning_rate": "step size of the optimiser",
    "loss": "whose gradient is taken",
    "max_eval": "the most queries of one estimate of the gradient",
    "max_iter": "iterations",
    "momentum": "decay of the momentum",
    "nb_random_init": "independent starts",
    "nb_restarts": "independent starts",
    "num_random_init": "random starts; 0 for the clean image",
    "overshoot": "how far beyond the boundary a step goes",
    "query_limit": "the library's own limit of queries",
    "random_start": "start at a random point of the ball",
    "rel_stepsize": "step size as a share of eps",
    "repeats": "draws",
    "steps": "steps of the search",
    "stepsize": "step size of the optimiser",
}


class LibraryParams(AttackParams):
    """Base of the parameters of libraries' attacks: as the library names them, none of them converted."""

    model_config = ConfigDict(strict=True)


@dataclass(frozen=True, slots=True)
class Line:
    """One attack of a library.

    Attributes:
        name: its class in the library.
        summary: one line in our words.
        norms: norms that it works under.
        kind: ``white-box``, ``score`` (asks for logits) or ``decision`` (asks for the class).
        minimum_norm: whether it looks for the smallest perturbation, whatever eps is.
        paper: the reference.
        scaled: parameters whose default in the library goes with the library's own eps: ``null`` here, which means the
            radius times this number.
        single: whether the library takes one image after the other anyway, so that each is given to it alone: its
            queries are counted exactly, and what it draws doesn't depend on the others.
        probabilities: whether it wants probabilities instead of logits.
        alias: the attack that this is another name for.
        needs: a package that it needs and the library doesn't bring, of the extra ``attacks``.
    """

    name: str
    summary: str
    norms: tuple[str, ...]
    kind: str = "white-box"
    minimum_norm: bool = False
    paper: str = ""
    scaled: tuple[tuple[str, float], ...] = ()
    single: bool = False
    probabilities: bool = False
    alias: str = ""
    needs: str = ""


@cache
def signatures() -> dict[str, Any]:  # Any: JSON
    """The parameters of every attack as the libraries declare them, by library.

    Written by ``python -m bench.attacks.backends.signatures``, so that a suite is checked without the libraries.
    """
    text = files("bench.attacks.libraries").joinpath("signatures.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def entries(library: str, lines: Iterable[Line]) -> dict[str, Entry]:
    """The lines of a library for the table of attacks, as ``library.Name``.

    Args:
        library: ``foolbox`` or ``art``.
        lines: its attacks.
    """
    known = signatures().get(library, {}).get("attacks", {})
    found = {}
    for line in lines:
        if line.name not in known:  # new here: the command above adds it
            continue
        name = f"{library}.{line.name}"
        facts: dict[str, Any] = {"kind": line.kind, "backend": library, "backends": (library,)}
        if line.kind != "white-box":
            facts["reusable"] = False
        if line.minimum_norm:
            facts["minimum_norm"] = True
        if line.needs:
            facts["needs_package"] = line.needs
        if line.alias:
            facts["alias"] = f"{library}.{line.alias}"
        params = _params(name, known[line.name], line)
        found[name] = Entry(
            f"bench.attacks.backends.{library}_named:{line.name}", line.summary, params, line.norms, line.paper, facts
        )
    return found


def _params(name: str, declared: Mapping[str, Any], line: Line) -> type[LibraryParams]:  # Any: JSON
    scaled = dict(line.scaled)
    fields: dict[str, Any] = {}  # Any: pydantic's field definitions
    for key, one in declared.items():
        kind: Any = Literal[tuple(one["choices"])] if "choices" in one else _union(one["types"])  # Any: a type
        if key in scaled:
            text = f"{scaled[key]:.2g} eps where it isn't given"
            fields[key] = (kind | None, Field(None, description=text))
        elif "default" in one:
            default = one["default"]
            default = tuple(default) if isinstance(default, list) else default
            fields[key] = (kind, Field(default, description=_MEANINGS.get(key)))
        else:
            fields[key] = (kind, Field(description=_MEANINGS.get(key)))
    if line.kind in ("score", "decision"):
        fields["max_queries"] = (int | None, Field(None, ge=1, description=_BUDGET))
    return create_model(name, __base__=LibraryParams, __doc__=f"Parameters of {name}.", **fields)


def _union(names: Iterable[str]) -> Any:  # Any: a type
    kinds = [_TYPES[name] for name in names]
    whole = kinds[0]
    for kind in kinds[1:]:
        whole = whole | kind
    return whole
