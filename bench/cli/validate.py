"""``bench validate``: whether a suite can work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bench.cli import options

if TYPE_CHECKING:
    from bench.suites.spec import Suite


def validate(
    suite: options.SuitePath,
    overrides: options.Overrides = None,
    model_dir: options.ModelDir = None,
    data_dir: options.DataDir = None,
    offline: options.Offline = True,
    allow_pickle: options.AllowPickle = None,
    allow_plugins: options.AllowPlugins = False,
    static: Annotated[
        bool, typer.Option("--static", help="Check the suite's file and its recipes alone: no data.")
    ] = False,
) -> None:
    """Check a suite: names, parameters, combinations, images, and every model that is here, on two images.

    Downloads nothing. All problems are reported at once, with file, line, key and what would be accepted.
    """
    from bench.errors import DatasetUnavailable
    from bench.training import suite_recipes

    loaded = options.load(suite, overrides)
    places = options.places(model_dir, data_dir, True, allow_pickle, allow_plugins)
    if static:
        if loaded.plugins:
            from bench.runner.preflight import load_plugins

            load_plugins(loaded, places)
        suite_recipes.check(loaded)
        print(f"{suite}: fine: {_count(loaded.suite)} (images and models not looked at)")
        return
    from bench.runner.build_check import build_all
    from bench.runner.devices import choose
    from bench.runner.preflight import preflight

    try:
        plan = preflight(loaded, places)
    except DatasetUnavailable as error:
        print(f"{suite}: fine as it stands: {_count(loaded.suite)}; models not tried without images")
        print(f"unavailable here: {error}")
        return
    build_all(plan, loaded, places, choose("auto"))
    print(f"{suite}: fine: {_count(loaded.suite)} on {len(plan.dataset)} images")
    missing = {
        f"{planned.cell.model.id}: {planned.unavailable}" if planned.located is None else planned.unavailable: None
        for planned in plan.every
        if planned.unavailable
    }
    for reason in missing:
        awaited = any(one.text in reason for one in plan.untrained)
        print(f"{'to train' if awaited else 'unavailable here'}: {reason}")


def _count(suite: Suite) -> str:
    """How many cells a suite has, for people."""
    from bench.suites.corruption_cells import expand_corruptions
    from bench.suites.expand import expand

    cells, corrupted = len(expand(suite)), len(expand_corruptions(suite))
    texts = [f"{cells} cells"] if cells or not corrupted else []
    return " and ".join([*texts, *([f"{corrupted} corruption cells"] if corrupted else [])])
