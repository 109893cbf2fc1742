"""``bench report``: tables and plots again, from the store alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN")],
) -> None:
    """Make the leaderboard and the plots of a run again from its records; needs neither torch nor the models."""
    draw(run)


def draw(run: Path) -> None:
    """Writes the tables and plots of a run, and prints the tables and the files' names.

    Args:
        run: the run's directory.
    """
    import shutil

    from bench import leaderboard, plots
    from bench.store.outcomes import read_outcomes
    from bench.store.run_directory import RunDirectory

    directory = RunDirectory.open(run)
    outcome = read_outcomes(directory)
    written = [*leaderboard.write(directory, outcome), *plots.write(directory, outcome)]
    print(leaderboard.text(directory, shutil.get_terminal_size((120, 40)).columns, outcome), end="")
    print()
    for path in written:
        print(path)
