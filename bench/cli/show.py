"""``bench show``: one thing explained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.registry import Entry


def show(
    name: Annotated[str, typer.Argument(help="Name of an attack, defense, dataset, metric, ...", metavar="NAME")],
) -> None:
    """Explain one attack, defense, dataset, metric, model source, architecture or training method: parameters, norms, paper."""
    import difflib

    from bench.errors import UnknownNameError
    from bench.registry import LISTED

    things = [line for kind, table in LISTED.items() if name in table.entries() for line in _thing(name, kind)]
    things += [line for known, lines in _inner() if name in (known, known.partition(":")[2]) for line in lines]
    if not things:
        for table in LISTED.values():
            if name in table.refused:
                raise UnknownNameError(table.kind, name, (), (), table.refused[name])
        names = sorted(
            {known for table in LISTED.values() for known in table.known_to(name)} | {one for one, _ in _inner()}
        )
        raise UnknownNameError("name", name, difflib.get_close_matches(name, names, n=3), names)
    print("\n".join(things))


def _thing(name: str, kind: str) -> Iterator[str]:
    """The lines of one name of a table."""
    from bench.cli.parameters import described, written
    from bench.registry import LISTED

    entry = LISTED[kind].entry(name)
    noun = "source of models" if kind == "models" else LISTED[kind].kind
    yield f"{name} ({noun}, from {entry.origin}): {entry.summary}"
    if entry.norms:
        yield f"  norms: {', '.join(entry.norms)}"
    for key, value in entry.facts.items():
        yield f"  {key}: {', '.join(value) if key == 'models' else written(value)}"
    if entry.paper:
        yield f"  paper: {entry.paper}"
    parameters = described(entry)
    if parameters:
        yield "  parameters:"
        yield from (f"    {line}" for line in parameters)


def _inner() -> Iterator[tuple[str, list[str]]]:
    """The models that a source lists by name, as ``source:name``."""
    from bench.cli.parameters import written
    from bench.registry import models

    sources: dict[str, Entry] = models.entries()
    for source, entry in sources.items():
        for name, facts in entry.facts.get("models", {}).items():
            rest = [f"  {key}: {written(value)}" for key, value in facts.items() if key != "summary"]
            yield f"{source}:{name}", [f"{source}:{name} (model): {facts.get('summary', '')}", *rest]
