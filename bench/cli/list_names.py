"""``bench list``: what there is."""

from __future__ import annotations

from typing import Annotated

import typer

KINDS = ("models", "attacks", "defenses", "datasets", "metrics", "architectures")


def list_names(
    kind: Annotated[str, typer.Argument(help="One of: " + ", ".join(KINDS) + ".", metavar="KIND")],
) -> None:
    """List the known models, attacks, defenses, datasets, metrics or architectures, with their parameters."""
    import shutil
    import textwrap

    from bench.errors import UnknownNameError
    from bench.registry import ALL

    if kind not in KINDS:
        raise UnknownNameError("kind of thing", kind, [], KINDS)
    width = shutil.get_terminal_size((100, 40)).columns
    for name, entry in ALL[kind].entries().items():
        norms = f" [{', '.join(entry.norms)}]" if entry.norms else ""
        print(textwrap.fill(f"{name}{norms}: {entry.summary}", width, subsequent_indent="    "))
        parameters = (
            []
            if entry.params is None
            else [f"{key}={field.default}" for key, field in entry.params.model_fields.items()]
        )
        if parameters:
            print(textwrap.fill(", ".join(parameters), width, initial_indent="    ", subsequent_indent="    "))
    if kind == "models":
        _more_models()


def _more_models() -> None:
    """The names inside the sources that bench knows without the network."""
    from bench.models import zoo

    print("zoo: " + ", ".join(zoo.names()))
    print("robustbench: any entry of its leaderboards, such as robustbench:Wong2020Fast; timm: any of timm's models")
