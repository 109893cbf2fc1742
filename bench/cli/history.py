"""``bench history``: a number over many runs, and where it changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.leaderboard.history import History


def history(
    directory: Annotated[
        Path,
        typer.Argument(help="A directory of runs, such as results/quickstart, or of baselines.", metavar="DIR"),
    ],
    number: Annotated[
        str | None,
        typer.Option(
            "--number",
            help='"worst case" (the default), clean, or a cell such as pgd-20; under common corruptions corrupted, or one such '
            "as fog.",
            metavar="NAME",
        ),
    ] = None,
    threat_model: Annotated[
        str | None,
        typer.Option(
            "--threat-model", help="Only this one, such as linf:8/255, or norm; or corruptions.", metavar="NORM:EPS"
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option("--suite", help="Only its nights, where DIR has those of several.", metavar="NAME")
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", min=1e-9, max=0.5, help="How often anything is marked where nothing changed.")
    ] = 0.05,
    format: Annotated[str, typer.Option("--format", help="text, md, csv or json.", metavar="FORMAT")] = "text",
    out: Annotated[
        Path | None, typer.Option("--out", help="Where history.png and .pdf go (default: DIR).", metavar="DIR")
    ] = None,
    plot: Annotated[bool, typer.Option("--plot/--no-plot", help="Draw it, too.")] = True,
) -> None:
    """Show a number over many nights as a table and a plot, and mark where it changed.

    Every night is paired, image by image, with the night before and with the first one that measured the same; exact tests
    with Holm's correction over all rows and nights say what is a change. Reads the records alone.
    """
    import sys

    from bench.errors import UnknownNameError
    from bench.leaderboard.history import FORMATS
    from bench.leaderboard.history import history as made

    if format not in FORMATS:
        raise UnknownNameError("format", format, (), tuple(FORMATS))
    found = made(directory, number, alpha, threat_model=threat_model, suite=suite)
    print(FORMATS[format](found), end="")
    for path in _draw(found, out or directory) if plot else ():
        print(path, file=sys.stdout if format == "text" else sys.stderr)


def _draw(found: History, directory: Path) -> list[Path]:
    from bench.leaderboard.history import frame
    from bench.plots import history as plots
    from bench.plots import saving

    note = f"whole rows paired by image; exact tests with Holm over {found.tests}, at {found.alpha:g}"
    with saving.style():
        figure = plots.draw(frame(found), found.number, note)
        return [] if figure is None else saving.save(directory, "history", figure)
