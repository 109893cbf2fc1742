"""``bench submit``: examples of an attack of your own, taken into a row's worst case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options

if TYPE_CHECKING:
    from bench.runner.submit import Submission


def submit(
    run: Annotated[Path, typer.Argument(help="A run's directory, such as results/quickstart/default.", metavar="RUN")],
    examples: Annotated[
        Path, typer.Argument(help="An npz file: x_adv, and sample_ids or positions.", metavar="EXAMPLES")
    ],
    author: Annotated[str, typer.Option("--author", help="Who made them, as the tables are to say.", metavar="NAME")],
    model: Annotated[
        str | None, typer.Option("--model", help="The row's model, where the run has several.", metavar="ID")
    ] = None,
    defense: Annotated[
        str | None, typer.Option("--defense", help="The row's defense (none: the bare model).", metavar="ID")
    ] = None,
    threat_model: Annotated[
        str | None,
        typer.Option("--threat-model", help="The row's threat model, such as linf:8/255.", metavar="NORM:EPS"),
    ] = None,
    note: Annotated[str, typer.Option("--note", help="What the tables are to say of them.", metavar="TEXT")] = "",
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    model_dir: options.ModelDir = None,
    data_dir: options.DataDir = None,
    offline: options.Offline = False,
    allow_pickle: options.AllowPickle = None,
    allow_plugins: options.AllowPlugins = False,
) -> None:
    """Judge adversarial examples that you made with an attack of your own, and count the successes in their row.

    The harness judges them as it judges an attack's: inside the threat model, predicted again by the real defended model. What
    lies outside is no success. Writes the leaderboard and the plots again.
    """
    from bench.cli.progress import make_progress
    from bench.runner.submit import Wanted
    from bench.runner.submit import submit as take

    done = take(
        run,
        examples,
        author,
        Wanted(model, defense, threat_model),
        message=note,
        places=options.places(model_dir, data_dir, offline, allow_pickle, allow_plugins),
        device=device,
        batch_size=batch_size,
        note=make_progress().note,
    )
    _say(done)
    _draw(done.directory)


def _say(done: Submission) -> None:
    bound = "" if done.complete else "≤ "
    before = "unknown" if done.before is None else f"{bound}{100 * done.before:.1f} %"
    if done.again:
        print(f"this file has been submitted before, by {done.author}: nothing changes")
    print(f"{done.author} against {done.row}: {done.submitted} examples")
    print(f"inside the threat model: {done.inside}; outside, which is no success: {done.submitted - done.inside}")
    print(f"successes: {done.successes}; on images that nothing else had broken: {done.alone}")
    print(f"worst case: {before} without them, {bound}{100 * done.after:.1f} % with them")


def _draw(directory: Path) -> None:
    from bench import leaderboard, plots, report
    from bench.store.outcomes import read_outcomes
    from bench.store.run_directory import RunDirectory

    run = RunDirectory(directory)
    outcome = read_outcomes(run)
    leaderboard.write(run, outcome)
    plots.write(run, outcome)
    report.write(run, outcome)
    print(f"{directory}/: report.html, leaderboard.md .csv .json .tex, plots/")
