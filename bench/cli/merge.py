"""``bench merge``: runs of one suite, made on other machines or other nights, as one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options

if TYPE_CHECKING:
    from bench.runner.merge import Merged

NAMED = 8
"""So many of a kind are named; all are counted."""


def merge(
    runs: Annotated[
        list[Path], typer.Argument(help="Directories of runs of the same suite; they are only read.", metavar="RUN...")
    ],
    into: Annotated[
        Path,
        typer.Option(
            "--into",
            help="Directory of the joined run, such as results/<suite>/joined. A run that is there is joined, too.",
            metavar="RUN_DIR",
        ),
    ],
    prefer: Annotated[
        Path | None,
        typer.Option(
            "--prefer",
            help="Whose rows count where runs contradict each other and nobody broke the sample; a verified success of any run "
            "counts all the same.",
            metavar="RUN",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    allow_plugins: options.AllowPlugins = False,
) -> None:
    """Join runs of one suite that were made on other machines or other nights, so that they are one run as any other.

    They may differ in models, attacks, defenses, seeds and samples, and each may have failed in part; needs neither the models
    nor the images. Refuses what isn't the same suite, and runs that contradict each other. Exit code 0 where every cell is
    done, 3 where some are errors or unfinished, 4 where only models were unavailable; bench run goes on from there.
    """
    from bench.cli.progress import make_progress
    from bench.cli.report import draw
    from bench.runner.merge import merge_runs
    from bench.suites.places import Places

    done = merge_runs(
        runs,
        into,
        prefer=prefer,
        dry_run=dry_run,
        places=Places(allow_plugins=allow_plugins),
        note=make_progress().note,
    )
    _say(done, dry_run=dry_run)
    if not dry_run:
        print()
        draw(into)
    if done.count("error", "partial", "missing"):
        raise typer.Exit(3)
    if done.count("unavailable"):
        raise typer.Exit(4)


def _say(done: Merged, *, dry_run: bool) -> None:
    """Who gave what, what contradicts what, and what is still to be done."""
    from tabulate import tabulate

    lines = []
    for place, source in enumerate(done.sources):
        given = [cell.given()[place] for cell in done.every if place in cell.given()]
        there = " (there already)" if source.target else ""
        samples = len(source.record.positions)
        cells = len(source.record.cells) + len(source.record.corruption_cells)
        lines.append((f"{source.directory.path}{there}", cells, samples, len(given), sum(given)))
    head = ("run", "cells", "samples", "gives to cells", "gives rows")
    print(tabulate(lines, head, disable_numparse=True, colalign=("left", *["right"] * 4)))
    _say_contradictions(done)
    _list("cells that no run has; bench run evaluates them", [one.label for one in done.missing])
    unseen = {one.id for one in done.missing}
    rest = [cell for cell in done.every if cell.status != "done" and cell.id not in unseen]
    _list("not done", [f"{cell.cell.label}: {_why(cell.status, cell.lacking, cell.result)}" for cell in rest])
    left = [f"{run}: {cell}" for run, cells in done.left.items() for cell in cells]
    _list("left behind, since the joined suite doesn't have them", left)
    _list("to be known", list(done.notes))
    would = "would have" if dry_run else "has"
    print(f"\n{done.directory} {would} {_many(len(done.every), 'cell')}, {done.count('done')} of them done")
    if not done.changed:
        print("nothing changes: all of it is there already")


def _why(status: str, lacking: int, result: object) -> str:
    reason = getattr(result, "reason", "")
    if reason:
        return f"{status}: {reason}"
    if lacking:
        return f"{_many(lacking, 'sample')} without a record; bench run attacks them"
    return "its rows are all there, but not its record; bench run finishes it without an attack"


def _say_contradictions(done: Merged) -> None:
    if not done.contradictions:
        return
    labels = {cell.id: cell.cell.label for cell in done.cells}
    print("\nother verdicts of the same sample (a verified success counts, whoever found it):")
    for one in done.contradictions:
        ids = ", ".join(one.samples[:NAMED]) + (", ..." if len(one.samples) > NAMED else "")
        what = f"{_many(len(one.samples), 'sample')} otherwise in {one.run}, {one.broken} of them unbroken there: {ids}"
        print(f"  {labels.get(one.cell, one.cell)}: {what}")


def _list(title: str, texts: list[str]) -> None:
    if not texts:
        return
    print(f"\n{title}:")
    for text in texts[:NAMED]:
        print(f"  {text}")
    if len(texts) > NAMED:
        print(f"  and {len(texts) - NAMED} more")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
