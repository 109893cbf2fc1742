"""``bench export``: a run's bare rows as entries of a public leaderboard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[
        Path, typer.Argument(help="A run's directory, such as results/cifar10-linf/default.", metavar="RUN")
    ],
    robustbench: Annotated[
        bool,
        typer.Option(
            "--robustbench", help="In the form of RobustBench's model_info; needed, since there is no other yet."
        ),
    ] = False,
    model: Annotated[str | None, typer.Option("--model", help="Only this model.", metavar="ID")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to write (default: export/ in the run's directory).", metavar="DIR"),
    ] = None,
    authors: Annotated[
        str | None, typer.Option("--authors", help="As the leaderboard shows them.", metavar="NAMES")
    ] = None,
    link: Annotated[str | None, typer.Option("--link", help="Of the paper or the repository.", metavar="URL")] = None,
    venue: Annotated[
        str | None, typer.Option("--venue", help="Such as 'ICLR 2026' or 'arXiv, Jan 2026'.", metavar="TEXT")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Title of the paper.", metavar="TITLE")] = None,
    architecture: Annotated[
        str | None, typer.Option("--architecture", help="Such as WideResNet-28-10.", metavar="TEXT")
    ] = None,
    additional_data: Annotated[
        bool | None,
        typer.Option(
            "--additional-data/--no-additional-data", help="Whether it was trained on more data.", show_default=False
        ),
    ] = None,
    reported: Annotated[
        str | None, typer.Option("--reported", help="Robust accuracy in %, as the paper reports it.", metavar="PERCENT")
    ] = None,
    footnote: Annotated[str | None, typer.Option("--footnote", help="For the leaderboard.", metavar="TEXT")] = None,
    forward_passes: Annotated[
        int, typer.Option("--forward-passes", min=1, help="Of the model, for one prediction.", metavar="N")
    ] = 1,
    allow_subset: Annotated[
        bool, typer.Option("--allow-subset", help="Take numbers of fewer images; the footnote says so.")
    ] = False,
) -> None:
    """Write the JSON that RobustBench's leaderboard takes, a file per bare model.

    autoattack_acc comes from a finished cell of standard AutoAttack at the leaderboard's radius, and from nothing else; a
    lower worst case is its external number. Reads the records alone.
    """
    from bench.errors import BenchError
    from bench.leaderboard import export as entries
    from bench.store.outcomes import read_outcomes
    from bench.store.run_directory import RunDirectory

    if not robustbench:
        raise BenchError("say in which form: --robustbench")
    if reported is not None:
        _check(reported)
    directory = RunDirectory.open(run)
    said = entries.Said(authors, link, venue, name, architecture, additional_data, reported, footnote, forward_passes)
    found = entries.export(read_outcomes(directory), said, model=model, allow_subset=allow_subset)
    for path, entry in zip(entries.write(out or directory.path / "export", found), found.entries, strict=True):
        print(path)
        if entry.missing:
            options = ", ".join(f"--{key.replace('_', '-')}" for key in entry.missing)
            print(f"bench: {path.name}: the run can't know {', '.join(entry.missing)}; give {options}", file=sys.stderr)
    for refused in found.refused:
        print(f"bench: {refused.row}: not exported: {refused.reason}", file=sys.stderr)
    if found.refused:
        raise typer.Exit(2)


def _check(reported: str) -> None:
    """Refuses what isn't a number in %."""
    import re

    from bench.errors import BenchError

    if not re.fullmatch(r"\d{1,3}(\.\d{1,2})?", reported) or float(reported) > 100:
        raise BenchError(f"--reported: a number in % with at most two decimals, such as 46.06, got {reported!r}")
