"""``bench show``: one thing explained."""

from __future__ import annotations

from typing import Annotated

import typer


def show(
    name: Annotated[str, typer.Argument(help="Name of an attack, defense, dataset, metric, ...", metavar="NAME")],
) -> None:
    """Explain one attack, defense, dataset, metric, model source or architecture: parameters, defaults, norms, paper."""
    import difflib

    from bench.errors import UnknownNameError
    from bench.registry import ALL

    found = [(kind, registry.entry(name)) for kind, registry in ALL.items() if name in registry.entries()]
    if not found:
        known = sorted({known for registry in ALL.values() for known in registry.entries()})
        raise UnknownNameError("name", name, difflib.get_close_matches(name, known, n=3), known)
    for kind, entry in found:
        print(f"{name} ({kind.removesuffix('s')}, from {entry.origin}): {entry.summary}")
        if entry.norms:
            print(f"  norms: {', '.join(entry.norms)}")
        for key, value in entry.facts.items():
            print(f"  {key}: {', '.join(map(str, value)) if isinstance(value, tuple | list) else value}")
        if entry.paper:
            print(f"  paper: {entry.paper}")
        if entry.params is not None and entry.params.model_fields:
            print("  parameters:")
            for key, field in entry.params.model_fields.items():
                kind_of = str(field.annotation).replace("typing.", "").replace("<class '", "").replace("'>", "")
                print(f"    {key}: {kind_of} = {field.default}  {field.description or ''}")
