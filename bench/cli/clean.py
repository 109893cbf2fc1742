"""``bench clean``: what no run refers to any more, told first and then removed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bench.runner.orphans import Found

UNANSWERED = 8
"""Exit code where something could be removed, and nobody said yes."""


def clean(
    path: Annotated[
        Path,
        typer.Argument(help="A run's directory, or one with runs in it, such as results.", metavar="RUN|RESULTS_DIR"),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without being asked.")] = False,
) -> None:
    """Tell what lies in runs that nothing refers to any more, with sizes, and remove it after a yes.

    That is: cells that the suite no longer has, rows and examples of no cell, probes of no row, plots of what is gone, and what
    killed processes left half-written. Nothing that a cell of the suite rests on is removed, no submission, and no file that
    bench didn't write. Without a terminal and without --yes it only tells, and exits with 8 where there is something.
    """
    from bench.runner.orphans import find, remove, runs_in

    runs = runs_in(path)
    found = []
    for run in runs:
        with run.unwritten():
            found.append(find(run))
    for one in found:
        _say(one)
    total = sum(one.bytes for one in found)
    if not any(one.orphans for one in found):
        print("nothing to remove")
        return
    if not yes and not _agreed(total):
        print(f"nothing was removed; bench clean {path} --yes removes it ({_size(total)})")
        raise typer.Exit(UNANSWERED)
    freed = sum(remove(run, one.orphans) for run, one in zip(runs, found, strict=True) if one.orphans)
    print(f"removed: {_size(freed)}")


def _agreed(total: int) -> bool:
    """Whether somebody sits there and says yes."""
    import sys

    return sys.stdin.isatty() and sys.stdout.isatty() and typer.confirm(f"remove all of it ({_size(total)})?")


def _say(found: Found) -> None:
    from tabulate import tabulate

    if found.orphans:
        print(f"{found.directory}: nothing refers to")
        lines = [(one.kind, one.name, len(one.files), _size(one.bytes)) for one in found.orphans]
        head = ("what", "which", "files", "size")
        print(tabulate(lines, head, disable_numparse=True, colalign=("left", "left", "right", "right")))
        print()
    if found.submissions:
        print(f"{found.directory}: kept, though the suite doesn't have their row now: {', '.join(found.submissions)}\n")


def _size(count: int) -> str:
    """Bytes for people: ``512 B``, ``3.4 kB``, ``1.2 GB``."""
    value, units = float(count), ["B", "kB", "MB", "GB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"
