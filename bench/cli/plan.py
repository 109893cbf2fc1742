"""``bench plan``: what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options

if TYPE_CHECKING:
    from bench.runner.options import RunSettings
    from bench.suites.loaded import LoadedSuite


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
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            help="Estimate time and device-hours on devices such as 8xH100, 2xcpu or 4xH100,2xA100 (docs/cluster.md).",
            metavar="COUNTxNAME,...",
        ),
    ] = None,
    pilot: Annotated[
        int,
        typer.Option(
            "--pilot",
            help="With --devices: first attack so many images here, to know how many passes the attacks spend.",
            min=0,
            metavar="N",
        ),
    ] = 0,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate", help="Measure this machine's device and write its speeds for other machines.", metavar="FILE"
        ),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            "--calibration",
            help="With --devices: speeds that --calibrate measured on another device; may be repeated.",
            metavar="FILE",
        ),
    ] = None,
    scale: Annotated[
        bool,
        typer.Option("--scale", help="With --devices: scale speeds of a measured GPU to another by their peak rates."),
    ] = False,
    cpus_per_worker: options.CpusPerWorker = 1,
    json: Annotated[
        str | None,
        typer.Option("--json", help="With --devices: write all as JSON; - for standard output.", metavar="FILE"),
    ] = None,
) -> None:
    """Print a suite's cells, what is done already, and an estimate of passes, time and bytes. Downloads nothing.

    Passes are the most that each attack may spend; time is those passes at the speed measured on this device just now.
    Attacks stop at the first success by default, so a model that breaks costs far less; so do the larger of several eps,
    where what a smaller one broke isn't attacked again.

    With --devices, time is estimated between two bounds from what attacks really spend: that is known from rows of this
    run, of others of the suite, or of a pilot. After the run the same command prints what it took beside it.
    """
    from bench.errors import BenchError
    from bench.runner.options import ClusterSettings, RunSettings

    asked = {"--pilot": pilot, "--calibration": calibration, "--scale": scale, "--json": json}
    alone = [name for name, value in asked.items() if value and devices is None]
    if alone:
        raise BenchError(f"{alone[0]} says how --devices is estimated (accepted: with --devices, such as 8xH100)")
    loaded = options.load(suite, overrides)
    places = options.places(model_dir, data_dir, True, allow_pickle, allow_plugins)
    cluster = ClusterSettings(cpus_per_worker=cpus_per_worker)
    settings = RunSettings(results, run_name, device, batch_size, places, cluster=cluster)
    if calibrate is not None:
        _calibrate(loaded, settings, calibrate)
    if devices is not None:
        _forecast(loaded, settings, devices, calibration or [], scale=scale, pilot=pilot, json=json)
    elif calibrate is None:
        _outline(loaded, settings)


def _outline(loaded: LoadedSuite, settings: RunSettings) -> None:
    from tabulate import tabulate

    from bench.runner.plan import estimate

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
    for text in outline.untrained:
        print(text)
    _compared(loaded, settings)


def _passes(number: float | None) -> str:
    return "?" if number is None else f"{number:,.0f}"


def _calibrate(loaded: LoadedSuite, settings: RunSettings, path: Path) -> None:
    from bench.cli.progress import make_progress
    from bench.runner.planning.forecast import calibrate

    found = calibrate(loaded, settings, path, make_progress())
    print(f"{path}: speeds of {len(found.rows)} rows on {found.kind} ({found.processor}, {found.device})")


def _forecast(
    loaded: LoadedSuite,
    settings: RunSettings,
    devices: str,
    calibrations: list[Path],
    *,
    scale: bool,
    pilot: int,
    json: str | None,
) -> None:
    from bench.cli import forecast_text
    from bench.cli.progress import make_progress
    from bench.runner.planning.forecast import Request, forecast
    from bench.store.atomic import write_text

    found = forecast(loaded, settings, Request(devices, tuple(calibrations), scale, pilot), make_progress())
    data = found.model_dump_json(indent=1) + "\n"
    if json == "-":
        print(data, end="")
        return
    print(forecast_text.text(found))
    _compared(loaded, settings)
    if json is not None:
        write_text(Path(json), data)


def _compared(loaded: LoadedSuite, settings: RunSettings) -> None:
    from bench.cli import forecast_text
    from bench.runner.planning.taken import compare

    found = compare(settings, loaded.suite.name)
    if found is not None and found.cells:
        print()
        print(forecast_text.compared(found))
