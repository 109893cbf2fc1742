"""``bench run``: evaluate a suite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.cli import options
from bench.cli.importing import importing

if TYPE_CHECKING:
    from bench.runner.events import Progress
    from bench.runner.options import RunSettings
    from bench.runner.run import RunSummary


def run(
    suite: options.SuitePath,
    overrides: options.Overrides = None,
    results: options.Results = Path("results"),
    run_name: options.RunName = "default",
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    model_dir: options.ModelDir = None,
    data_dir: options.DataDir = None,
    offline: options.Offline = False,
    allow_pickle: options.AllowPickle = None,
    allow_plugins: options.AllowPlugins = False,
    yes: options.Yes = False,
    pin_batch: options.PinBatch = False,
    compile: options.Compile = False,
    graphs: options.Graphs = True,
    executor: options.Executor = "local",
    address: options.Address = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = 1.0,
    cpus_per_worker: options.CpusPerWorker = 1,
    shard_timeout: options.ShardTimeout = 6 * 3600.0,
    audit: options.Audit = True,
) -> None:
    """Evaluate every combination of a suite, audit the numbers, and write leaderboard, plots and per-sample records.

    Running the same command again resumes: finished cells stay, failed and unavailable ones are tried again, and only
    what is missing is computed.

    A model that the suite names as a recipe (recipe:FILE) is trained first, with bench train, where its weights are
    missing: they are kept in trained/ of the model directory.
    """
    import sys

    with importing():
        from bench.cli.progress import make_progress
        from bench.errors import BenchError, Interrupted
        from bench.runner.options import ClusterSettings, RunSettings
        from bench.runner.run import run_suite

    cluster = ClusterSettings(address, workers, gpus_per_worker, cpus_per_worker, shard_timeout)
    loaded = options.load(suite, overrides)
    places = options.places(model_dir, data_dir, offline, allow_pickle, allow_plugins)
    settings = RunSettings(
        results, run_name, device, batch_size, places, yes, pin_batch, compile, graphs, executor, cluster
    )
    progress = make_progress(executor)
    try:
        summary = run_suite(loaded, settings, progress)
    except Interrupted as error:
        directory = settings.directory(loaded.suite.name)
        try:
            if (directory / "run.json").exists():  # not where it was stopped in a training before the first cell
                _draw(directory)
        except BenchError as problem:  # that it was stopped says more than that there is no table yet
            print(f"bench: {problem}", file=sys.stderr)
        raise Interrupted(f"{error}; run the same command again to resume") from error
    _conclude(summary, settings, progress, audit=audit)
    _close(summary)


def _conclude(summary: RunSummary, settings: RunSettings, progress: Progress, *, audit: bool) -> None:
    """Audits the run and draws it, where that hasn't been done already."""
    import shutil

    from bench import leaderboard
    from bench.cli import drawn
    from bench.store.run_directory import RunDirectory

    run = RunDirectory(summary.directory)
    if not summary.changed and drawn.current(run, audited=audit):
        progress.note("nothing to do: it is all there (bench audit and bench report make theirs again)")
        _show(run.path, leaderboard.saved_text(run, shutil.get_terminal_size((120, 40)).columns))
        return
    audited = audit and _audit(run.path, settings, progress)
    drawn.remember(run, _draw(run.path), audited=audited)


def _audit(directory: Path, settings: RunSettings, progress: Progress) -> bool:
    """Audits the run; what is evaluated stands, whatever becomes of its audit.

    Returns:
        Whether it was audited.
    """
    import sys

    from bench.errors import BenchError, Interrupted
    from bench.runner.audit import AuditSettings, audit_run

    try:
        audit_run(directory, AuditSettings(settings.places, settings.device, settings.batch_size), progress)
    except Interrupted as error:
        _draw(directory)
        raise Interrupted(f"{error}; everything is evaluated: bench audit {directory} goes on") from error
    except BenchError as error:
        print(f"bench: the audit failed: {error}", file=sys.stderr)
        return False
    return True


def _draw(directory: Path) -> list[Path]:
    """Leaderboard, plots and page of what is finished, and the table on the screen.

    Returns:
        The files.
    """
    import shutil

    from bench import leaderboard, plots, report
    from bench.store.outcomes import read_outcomes
    from bench.store.run_directory import RunDirectory

    run = RunDirectory(directory)
    outcome = read_outcomes(run)
    written = [*leaderboard.write(run, outcome), *plots.write(run, outcome), *report.write(run, outcome)]
    table = leaderboard.text(run, shutil.get_terminal_size((120, 40)).columns, outcome)
    _show(directory, table, ", corruptions/" if outcome.corrupted else "")
    return written


def _show(directory: Path, table: str, more: str = "") -> None:
    """Prints the table, and what lies where."""
    print(f"\n{table}")
    print(f"{directory}/: report.html, leaderboard.md .csv .json .tex, plots/, samples/ (one row per sample){more}")


def _close(summary: RunSummary) -> None:
    """Says what failed, and exits with the code that tells it."""
    for result in summary.results:
        if result.status != "done":
            print(
                f"{result.status}: {result.model.id} | {result.attack_id} | {result.threat_model.label}: {result.reason}"
            )
    for status, count, reason in _corrupted(summary):
        print(f"{status}: {count} corruption cell{'s' * (count != 1)}: {reason}")
    if summary.count("error"):
        raise typer.Exit(3)
    if summary.count("unavailable"):
        raise typer.Exit(4)


def _corrupted(summary: RunSummary) -> list[tuple[str, int, str]]:
    """The corruption cells without a number, by status and reason: there may be 75 of a row, all for one reason."""
    failed = [(one.status, one.reason) for one in summary.corrupted if one.status != "done"]
    return [(status, failed.count((status, reason)), reason) for status, reason in dict.fromkeys(failed)]
