"""``bench validate``: whether a suite can work."""

from __future__ import annotations

from typing import Annotated

import typer

from bench.cli import options


def validate(
    suite: options.SuitePath,
    overrides: options.Overrides = None,
    model_dir: options.ModelDir = None,
    data_dir: options.DataDir = None,
    offline: options.Offline = True,
    allow_pickle: options.AllowPickle = None,
    allow_plugins: options.AllowPlugins = False,
    static: Annotated[bool, typer.Option("--static", help="Check the file alone: no data, no weights.")] = False,
) -> None:
    """Check a suite: names, parameters, combinations, images, and every model that is here, on two images.

    Downloads nothing. All problems are reported at once, with file, line, key and what would be accepted.
    """
    from bench.errors import DatasetUnavailable
    from bench.suites.check import check
    from bench.suites.expand import expand

    loaded = options.load(suite, overrides)
    places = options.places(model_dir, data_dir, True, allow_pickle, allow_plugins)
    if static:
        if loaded.plugins:
            from bench.runner.preflight import load_plugins

            load_plugins(loaded, places)
        check(loaded)
        print(f"{suite}: fine: {len(expand(loaded.suite))} cells (images and models not looked at)")
        return
    from bench.runner.devices import choose
    from bench.runner.preflight import build_all, preflight

    try:
        plan = preflight(loaded, places)
    except DatasetUnavailable as error:
        print(f"{suite}: fine as it stands: {len(expand(loaded.suite))} cells; models not tried without images")
        print(f"unavailable here: {error}")
        return
    build_all(plan, loaded, places, choose("auto"))
    print(f"{suite}: fine: {len(plan.cells)} cells on {len(plan.dataset)} images")
    missing = {
        f"{planned.cell.model.id}: {planned.unavailable}" if planned.located is None else planned.unavailable: None
        for planned in plan.cells
        if planned.unavailable
    }
    for reason in missing:
        print(f"unavailable here: {reason}")
