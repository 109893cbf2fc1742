"""``bench paper``: tables, figures, references and an appendix for a paper, from the store alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def paper(
    run: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to write (default: paper/ in the run's directory).", metavar="DIR"),
    ] = None,
    style: Annotated[
        str,
        typer.Option(
            "--style", help="The tables: attacks, robustbench or defense.", metavar="STYLE", show_default=True
        ),
    ] = "attacks",
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            help="Columns in their order, such as model,defense,clean,pgd-20,worst-case; those of the style by default.",
            metavar="NAMES",
        ),
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals/--no-intervals", help="95 % intervals below the numbers.")
    ] = True,
    caption: Annotated[
        str | None, typer.Option("--caption", help="Caption of the tables, as LaTeX.", metavar="TEXT")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="For \\ref; with several threat models each adds its own.", metavar="LABEL"),
    ] = None,
    page_rows: Annotated[
        int | None,
        typer.Option("--page-rows", help="Rows of a table on a page (default: as many as fit).", metavar="N", min=1),
    ] = None,
    plots: Annotated[
        str,
        typer.Option(
            "--plots",
            help="Figures for a column (3.25 in), both (6.75 in), or none.",
            metavar="WIDTH",
            show_default=True,
        ),
    ] = "two-column",
) -> None:
    """Write what a paper needs: LaTeX tables, vector figures, BibTeX of what was used, and a reproducibility appendix.

    tables.tex holds everything and compiles: latexmk -pdf tables.tex. Reads the records alone.
    """
    import difflib

    from bench.errors import UnknownNameError
    from bench.leaderboard import paper as texts
    from bench.leaderboard.paper.naming import attack_names
    from bench.leaderboard.paper.styles import Choices
    from bench.plots import paper as figures
    from bench.store.outcomes import read_outcomes
    from bench.store.run_directory import RunDirectory

    if plots not in figures.WIDTHS:
        raise UnknownNameError(
            "width of plots", plots, difflib.get_close_matches(plots, figures.WIDTHS), tuple(figures.WIDTHS)
        )
    names = tuple(name.strip() for name in (columns or "").split(",") if name.strip())
    choices = Choices(style, names, intervals, caption, label, page_rows)
    choices.check()
    directory = RunDirectory.open(run)
    outcome = read_outcomes(directory)
    target = out or directory.path / "paper"
    drawn = figures.draw(outcome, plots, attack_names(outcome.record.suite.attacks))
    found = texts.contents(directory, choices, outcome, [(name, figure.caption) for name, figure in drawn.items()])
    for path in [*texts.write(target, found), *figures.write(target, drawn)]:
        print(path)
