"""``bench explain``: how one number of a run came about, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain(
    run: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN")],
    model: Annotated[str, typer.Argument(help="The model's id, as in the tables.", metavar="MODEL")],
    defense: Annotated[
        str | None, typer.Option("--defense", help="Only this defense (none: the bare model).", metavar="ID")
    ] = None,
    threat_model: Annotated[
        str | None,
        typer.Option(
            "--threat-model",
            help="Only this threat model, such as linf:8/255, or norm; or corruptions.",
            metavar="NORM:EPS",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Tell how a model's numbers came about: images, attacks, what broke what, flags, and what would make them stronger.

    Under common corruptions it tells which images were judged, the mean, and every corruption. Reads the records
    alone: needs neither torch nor the model.
    """
    import shutil

    from bench.leaderboard.explain import explain as explained
    from bench.leaderboard.prose import prose
    from bench.store.run_directory import RunDirectory

    found = explained(RunDirectory.open(run), model, defense=defense, threat_model=threat_model)
    if as_json:
        print(found.model_dump_json(indent=1))
    else:
        print(prose(found, shutil.get_terminal_size((120, 40)).columns), end="")
