"""``bench plan``: what a run would do."""

from __future__ import annotations

from pathlib import Path

from bench.cli import options


def plan(
    suite: options.SuitePath,
    overrides: options.Overrides = None,
    results: options.Results = Path("results"),
    run_name: options.RunName = "default",
    device: options.Device = "auto",
    batch_size: options.BatchSize = None,
    model_dir: options.ModelDir = None,
    data_dir: options.DataDir = None,
    allow_pickle: options.AllowPickle = None,
    allow_plugins: options.AllowPlugins = False,
) -> None:
    """Print a suite's cells, what is done already, and an estimate of passes, time and bytes. Downloads nothing.

    Passes are the most that each attack may spend; time is those passes at the speed measured on this device just now.
    Attacks stop at the first success by default, so a model that breaks costs far less; so do the larger of several eps,
    where what a smaller one broke isn't attacked again.
    """
    from tabulate import tabulate

    from bench.runner.options import RunSettings
    from bench.runner.plan import estimate

    loaded = options.load(suite, overrides)
    places = options.places(model_dir, data_dir, True, allow_pickle, allow_plugins)
    settings = RunSettings(results, run_name, device, batch_size, places)
    outline = estimate(loaded, settings)
    rows = [
        (row.label, row.state, row.samples, _passes(row.forwards), _passes(row.backwards), row.duration)
        for row in outline.rows
    ]
    print(
        tabulate(
            rows, headers=("cell", "state", "samples to do", "forward ≤", "backward ≤", "time ≤"), disable_numparse=True
        )
    )
    print()
    print(
        f"{len(outline.rows)} cells, {outline.done} done; at most {outline.duration} on {outline.device}; "
        f"examples up to {outline.bytes / 1e6:.1f} MB in {outline.directory}"
    )


def _passes(number: float | None) -> str:
    return "?" if number is None else f"{number:,.0f}"
