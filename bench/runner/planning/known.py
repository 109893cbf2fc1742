"""Finds what is known of a cell's passes: its rows in this run, in others of the suite, in a pilot, or another seed's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.errors import SchemaError, StoreError
from bench.runner.facts import attack_of
from bench.runner.options import RunSettings
from bench.runner.passes import attack_passes
from bench.runner.planning.files import pilots
from bench.runner.planning.spending import Spending, abreast, at_most, observed
from bench.runner.preflight import Plan, PlannedCell
from bench.store.parts import ShardReport
from bench.store.run_directory import RunDirectory


class _Place(NamedTuple):
    """A run that may know something, and what it is called."""

    directory: RunDirectory
    name: str


class Known:
    """What earlier evaluations tell.

    Args:
        plan: the suite.
        settings: where its runs lie.
    """

    def __init__(self, plan: Plan, settings: RunSettings) -> None:
        self._plan = plan
        self._places = list(_places(plan, settings))

    def spending(self, planned: PlannedCell) -> Spending | None:
        """The passes of a cell; ``None`` where nothing is known and the attack doesn't tell its budget."""
        classes = self._plan.dataset.num_classes
        budget = attack_passes(planned.cell, classes)
        side_by_side = 1.0 if planned.cell.transferred else abreast(attack_of(planned.cell), classes)
        for one in (planned, *self._other_seeds(planned)):
            rows, reports, source = self._rows(one)
            if len(rows):
                seed = "" if one is planned else f" of seed {one.cell.seed}"
                found = observed(rows, reports, budget, f"{len(rows)} {source}{seed}")
                return replace(found, abreast=side_by_side)
        return None if budget is None else replace(at_most(budget), abreast=side_by_side)

    def _rows(self, planned: PlannedCell) -> tuple[pd.DataFrame, tuple[ShardReport, ...], str]:
        """The rows of the first place that has the most."""
        best: tuple[pd.DataFrame, tuple[ShardReport, ...], str] = (pd.DataFrame(), (), "")
        for place in self._places:
            try:
                rows, reports = place.directory.read_part_frames(planned.id, ("forwards", "backwards"))
            except SchemaError:
                raise
            except StoreError:  # damaged: it says nothing
                continue
            if len(rows) > len(best[0]):
                best = (rows, tuple(reports), place.name)
        return best

    def _other_seeds(self, planned: PlannedCell) -> Iterator[PlannedCell]:
        for other in self._plan.cells:
            if other is not planned and replace(other.cell, seed=planned.cell.seed) == planned.cell:
                yield other


def _places(plan: Plan, settings: RunSettings) -> Iterator[_Place]:
    own = settings.directory(plan.suite.name)
    yield _Place(RunDirectory(own), "rows of this run")
    for record in sorted(own.parent.glob("*/run.json")):
        if record.parent != own:
            yield _Place(RunDirectory(record.parent), f"rows of the run {record.parent.name}")
    yield _Place(RunDirectory(_pilot(plan, settings)), "rows of a pilot")


def _pilot(plan: Plan, settings: RunSettings) -> Path:
    return replace(settings, results=pilots(settings.results)).directory(plan.suite.name)
