"""Whether a cell's record says what follows from its rows: metrics, stages, cost, flags."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from bench.errors import MetricError
from bench.runner import aggregate
from bench.runner.verify.results import Found
from bench.store.parts import ShardReport
from bench.store.records import CellResult
from bench.suites.cells import Cell
from bench.suites.spec import Suite

if TYPE_CHECKING:
    import pandas as pd

_CLOSE = 1e-9
"""Sums and quantiles of other versions of a library may differ in the last bits."""


def check_figures(
    result: CellResult, cell: Cell, suite: Suite, rows: pd.DataFrame, reports: list[ShardReport], found: Found
) -> None:
    """Computes what the record says again, and compares.

    Args:
        result: the record.
        cell: the cell.
        suite: the run's.
        rows: of the samples that the record counts.
        reports: what the shards cost and flagged.
        found: gets the problems.
    """
    file = f"cells/{result.cell}.json"
    submitted = cell.role == "submitted"
    if submitted:  # recorded under the suite of its time, which may have been another
        suite = suite.model_copy(update={"metrics": tuple(result.metrics)})
    try:
        here = aggregate.figures(suite, cell, rows, reports)
    except (MetricError, ValueError, KeyError) as error:
        found.add("metrics", f"{file}: can't be computed again: {str(error).splitlines()[0]}", cell=result.cell)
        return
    wrong = list(_mapping(result.metrics, here.metrics))
    wrong += differences("stages", _plain(result.stages), _plain(here.stages))
    wrong += differences("cost", _plain(result.cost), _plain(here.cost))
    wrong += differences("precision", result.precision, here.precision)
    recorded, follow = set(result.flags), set(here.flags)
    wrong += [
        f"the flag {flag.rule} follows from the rows and isn't there" for flag in here.flags if flag not in recorded
    ]
    if not submitted:
        wrong += [f"the flag {flag.rule} doesn't follow from the rows" for flag in result.flags if flag not in follow]
    if result.samples != len(rows):
        wrong.append(f"samples is {result.samples}, there are {len(rows)}")
    if submitted:  # who else attacks its row is the suite's matter
        wrong = [text for text in wrong if not any(rule in text for rule in _OF_ITS_SUITE)]
    for text in wrong:
        found.add("metrics", f"{file}: {text}", cell=result.cell)


_OF_ITS_SUITE = ("no-adaptive-attack", "no-gradient-free-attack", "no-detector-attack")
"""Flags that say who else attacks a row."""


def _mapping(recorded: Mapping[str, BaseModel], here: Mapping[str, BaseModel]) -> Iterator[str]:
    for name in dict.fromkeys((*here, *recorded)):
        if name not in recorded:
            yield f"{name} isn't there"
        elif name not in here:
            yield f"{name} is no metric of the suite"
        else:
            yield from differences(name, _plain(recorded[name]), _plain(here[name]))


def _plain(value: object) -> object:
    """Models as JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def differences(name: str, recorded: object, here: object) -> Iterator[str]:
    """What differs, down to the single value."""
    if isinstance(recorded, dict) and isinstance(here, dict):
        for key in dict.fromkeys((*here, *recorded)):
            inner = name if key == "value" else f"{name}.{key}"
            yield from differences(inner, recorded.get(key), here.get(key))
    elif isinstance(recorded, list) and isinstance(here, list) and len(recorded) == len(here):
        for place, (one, other) in enumerate(zip(recorded, here, strict=True)):
            yield from differences(f"{name}[{place}]", one, other)
    elif not _same(recorded, here):
        yield f"{name} is {_shown(recorded)}, the rows give {_shown(here)}"


def _same(one: object, other: object) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=1e-12)
    return one == other


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
