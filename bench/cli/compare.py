"""``bench compare``: two runs, or two rows of one, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN_A")],
    b: Annotated[
        Path | None,
        typer.Argument(help="Another one; without it the rows of RUN_A are compared with each other.", metavar="RUN_B"),
    ] = None,
    rows: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--rows",
            help="Two rows: of RUN_A and of RUN_B, or both of RUN_A.",
            metavar="MODEL[+DEFENSE] MODEL[+DEFENSE]",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Only this model's rows.", metavar="ID")] = None,
    defense: Annotated[
        str | None, typer.Option("--defense", help="Only this defense (none: the bare models).", metavar="ID")
    ] = None,
    threat_model: Annotated[
        str | None,
        typer.Option(
            "--threat-model",
            help="Only this threat model, such as linf:8/255, or norm; or corruptions.",
            metavar="NORM:EPS",
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="text, md, csv, latex or json.", metavar="FORMAT", show_default=True)
    ] = "text",
    alpha: Annotated[
        float, typer.Option("--alpha", min=1e-9, max=0.5, help="Level below which a corrected p is marked.")
    ] = 0.05,
) -> None:
    """Tell what changed between two runs, or what sets two models or defenses of one run apart.

    Pairs the images that both have: differences of clean and robust accuracy, and of accuracy under common corruptions, with
    95 % intervals, exact tests with Holm's correction over all of them, which samples were lost and gained, and what it cost.
    What can't be compared is refused with the reason. Reads the records alone.
    """
    from bench.errors import UnknownNameError
    from bench.leaderboard.compare import compare as compared
    from bench.leaderboard.matched import Chosen
    from bench.leaderboard.side_by_side import FORMATS
    from bench.store.run_directory import RunDirectory

    if format not in FORMATS:
        raise UnknownNameError("format", format, (), tuple(FORMATS))
    chosen = Chosen(rows, model, defense, threat_model)
    found = compared(RunDirectory.open(a), None if b is None else RunDirectory.open(b), chosen, alpha)
    print(FORMATS[format](found), end="")
