"""``bench report``: tables, plots and the page again, from the store alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN")],
    html: Annotated[
        bool,
        typer.Option("--html", help="Only report.html: tables, plots and images in one page that needs no network."),
    ] = False,
) -> None:
    """Make the leaderboard, the plots and report.html again from a run's records; needs neither torch nor the models."""
    if html:
        page(run)
    else:
        draw(run)


def page(run: Path) -> None:
    """Writes the page of a run alone, and prints the file's name.

    Args:
        run: the run's directory.
    """
    from bench import report as pages
    from bench.store.run_directory import RunDirectory

    for path in pages.write(RunDirectory.open(run)):
        print(path)


def draw(run: Path) -> None:
    """Writes the tables, the plots and the page of a run, and prints the tables and the files' names.

    Args:
        run: the run's directory.
    """
    import shutil

    from bench import leaderboard, plots
    from bench import report as pages
    from bench.store.outcomes import read_outcomes
    from bench.store.run_directory import RunDirectory

    directory = RunDirectory.open(run)
    outcome = read_outcomes(directory)
    written = [*leaderboard.write(directory, outcome), *plots.write(directory, outcome)]
    written += pages.write(directory, outcome)
    print(leaderboard.text(directory, shutil.get_terminal_size((120, 40)).columns, outcome), end="")
    print()
    for path in written:
        print(path)
