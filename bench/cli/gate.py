"""``bench gate``: whether a run is worse than a baseline, for nightly jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from bench.leaderboard.baseline import Baseline
    from bench.leaderboard.checks import GateError, GateResult

FAILED = 7
"""Exit code where the gate fails."""


class Files(NamedTuple):
    """Where the result goes besides the terminal."""

    junit: Path | None
    summary: Path | None
    json: str | None


def gate(
    run: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN")],
    baseline: Annotated[
        Path,
        typer.Option("--baseline", help="The baseline, such as results/baselines/quickstart.json.", metavar="FILE"),
    ],
    margin: Annotated[
        float, typer.Option("--margin", min=0, help="Points that an accuracy may drop in any case.", metavar="POINTS")
    ] = 0.0,
    alpha: Annotated[
        float,
        typer.Option("--alpha", min=1e-9, max=0.5, help="How often the gate may fail although no accuracy got worse."),
    ] = 0.05,
    non_inferiority: Annotated[
        float | None,
        typer.Option(
            "--non-inferiority",
            min=0,
            help="Turn the question round: pass only where every accuracy is shown to have dropped by less.",
            metavar="POINTS",
        ),
    ] = None,
    cost: Annotated[str, typer.Option("--cost", help="passes, seconds, both or none.", metavar="KIND")] = "passes",
    cost_factor: Annotated[
        float, typer.Option("--cost-factor", min=1, help="What the cost of a cell may rise to, in multiples.")
    ] = 1.5,
    flags: Annotated[
        str,
        typer.Option(
            "--flags",
            help="From which severity on a new flag or finding fails: warning, invalid, or none.",
            metavar="KIND",
        ),
    ] = "warning",
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write JUnit XML: a testcase per number and check.", metavar="FILE")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", help="Write Markdown; appended where FILE is $GITHUB_STEP_SUMMARY.", metavar="FILE"),
    ] = None,
    json: Annotated[
        str | None, typer.Option("--json", help="Write all checks as JSON; - for standard output.", metavar="FILE")
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline from the run, in place of checking it.")
    ] = False,
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="With --update: although rows are incomplete or invalid.")
    ] = False,
) -> None:
    """Fail where a run is worse than a baseline: accuracies, failed cells, new flags, cost.

    The images are paired: an accuracy has dropped where a one-sided exact McNemar test, with Holm's correction over all
    numbers of the run, says so. Exit code 7 where the gate fails, 0 where it passes, 2 where the two can't be compared.
    Reads the records alone.
    """
    from bench.errors import BenchError, UnknownNameError
    from bench.leaderboard import baseline as baselines
    from bench.leaderboard.checks import GateError
    from bench.leaderboard.gate import gate as gated
    from bench.leaderboard.gate_checks import GateSettings
    from bench.store.run_directory import RunDirectory

    for kind, value, known in (
        ("cost", cost, ("passes", "seconds", "both", "none")),
        ("severity", flags, ("warning", "invalid", "none")),
    ):
        if value not in known:
            raise UnknownNameError(kind, value, (), known)
    if allow_incomplete and not update:
        raise BenchError("--allow-incomplete says what --update may write (accepted: with --update)")
    if update:
        _update(baseline, baselines.snapshot(RunDirectory.open(run)), allow_incomplete)
        return
    settings = GateSettings(margin, alpha, cost, cost_factor, non_inferiority, flags)  # type: ignore[arg-type]
    files = Files(junit, summary, json)
    try:
        before = baselines.read(baseline)
        directory = RunDirectory.open(run)
        now = baselines.snapshot(directory, like=before)
        result = gated(before, now, settings, run=str(directory.path))
    except BenchError as error:
        # Files of the night before would say that all is well.
        _write(GateError(run=str(run), error=str(error)), files)
        raise
    _write(result, files)
    if not result.passed:
        raise typer.Exit(FAILED)


def _update(path: Path, found: Baseline, allow_incomplete: bool) -> None:
    from bench.errors import StoreError
    from bench.leaderboard.baseline import incomplete, write

    lacking = incomplete(found)
    if lacking and not allow_incomplete:
        raise StoreError(
            "the run is no baseline: rows are incomplete, so that later runs would be measured against numbers that are only "
            f"known to be at most that: {'; '.join(lacking)} (accepted: a finished run, or --allow-incomplete)"
        )
    write(path, found)
    parts = [
        f"{len(rows)} row{'s' * (len(rows) != 1)}{where}, {sum(len(row.cells) for row in rows)} cells"
        for where, rows in (("", found.rows), (" under common corruptions", found.corrupted))
        if rows
    ]
    print(f"{path}: {', '.join([*parts, f'{found.samples.count:,} images'])}")


def _write(result: GateResult | GateError, files: Files) -> None:
    """Prints the result and writes every file that was asked for, whichever of them can't be written."""
    from bench.errors import WriteError
    from bench.leaderboard import gate_text
    from bench.leaderboard.checks import GateError
    from bench.leaderboard.junit import junit, junit_error
    from bench.store.atomic import write_text

    if isinstance(result, GateError):
        xml, page, said = junit_error(result), gate_text.markdown_error(result), ""
    else:
        xml, page, said = junit(result), gate_text.markdown(result), gate_text.text(result)
    data = result.model_dump_json(indent=1) + "\n"
    print(data if files.json == "-" else said, end="")
    failed = []
    for path, write, text in (
        (files.junit, write_text, xml),
        (files.summary, _write_page, page),
        (None if files.json in (None, "-") else Path(files.json), write_text, data),
    ):
        try:
            if path is not None:
                write(path, text)
        except WriteError as error:
            failed.append(str(error))
    if failed and not isinstance(result, GateError):  # why it couldn't look is what to tell of
        raise WriteError("\n".join(failed))


def _write_page(path: Path, text: str) -> None:
    """Adds to the page of a GitHub job, and writes any other file anew."""
    import os

    from bench.store.atomic import explained, write_text

    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page and Path(page).resolve() == path.resolve():
        with explained(path), path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
    else:
        write_text(path, text)
