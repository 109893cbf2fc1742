"""The Python interface: ``bench.load_suite``, ``bench.run`` and ``bench.evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.runner.memory_run import evaluate_model as evaluate
from bench.suites.load import load_suite

if TYPE_CHECKING:
    from bench.runner.events import Progress
    from bench.runner.options import RunSettings
    from bench.runner.run import RunSummary
    from bench.suites.loaded import LoadedSuite

__all__ = ["evaluate", "load_suite", "run"]


def run(
    suite: str | Path | LoadedSuite,
    *,
    overrides: Sequence[str] = (),
    settings: RunSettings | None = None,
    progress: Progress | None = None,
    audit: bool = True,
) -> RunSummary:
    """Runs a suite, or resumes it, audits its numbers, and writes its leaderboard and plots.

    Args:
        suite: path of the YAML file, or a loaded suite.
        overrides: ``key=value`` texts, as after ``--set``; only with a path.
        settings: results directory, device, permissions.
        progress: hears how the run goes on.
        audit: verify the examples and probe the attacks afterwards, and flag the numbers.

    Returns:
        The records of all cells and the run's directory.

    Raises:
        BenchError: see :mod:`bench.errors`.
    """
    from bench import leaderboard, plots, report
    from bench.runner.run import run_suite
    from bench.store.outcomes import read_outcomes
    from bench.store.run_directory import RunDirectory

    loaded = load_suite(suite, overrides=overrides) if isinstance(suite, str | Path) else suite
    summary = run_suite(loaded, settings, progress)
    directory = RunDirectory(summary.directory)
    if audit:
        from bench.runner.audit import AuditSettings, audit_run
        from bench.runner.options import RunSettings

        chosen = settings or RunSettings()
        audit_run(directory.path, AuditSettings(chosen.places, chosen.device, chosen.batch_size), progress)
    outcome = read_outcomes(directory)
    leaderboard.write(directory, outcome)
    plots.write(directory, outcome)
    report.write(directory, outcome)
    return summary
