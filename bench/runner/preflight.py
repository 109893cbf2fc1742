"""Before a run: what needs the models and the data to be known. Nothing is attacked here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench import datasets, models, registry
from bench.datasets.base import Dataset
from bench.datasets.held_out import calibration_digest, held_out
from bench.errors import BenchError, DatasetError, ModelUnavailable, PluginError, Problem, SuiteError
from bench.models.base import Located, Setting
from bench.runner.facts import attack_of, facts
from bench.runner.worker import Worker
from bench.store.run_directory import hash_of
from bench.suites.cells import Cell
from bench.suites.check import check
from bench.suites.declared import declared
from bench.suites.expand import expand, is_read
from bench.suites.families import next_smaller, running_order
from bench.suites.loaded import LoadedSuite
from bench.suites.naming import resolve
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, ModelSpec, Suite

DOWNLOADED = ("robustbench", "timm")
"""Sources that download what they don't find."""


@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell with its id, and what stands in its way.

    Attributes:
        cell: the cell.
        id: its id.
        located: the model's weights; ``None`` where they can't be had.
        unavailable: why they can't be had; empty where they can.
        broken: why the model can't be used (a missing layer, no such architecture); empty where it can.
        keep: which adversarial examples are kept.
        facts: what the id is made of beside the cell.
        smaller: the cell with a smaller eps whose successes aren't attacked again; part of the id.
    """

    cell: Cell
    id: str
    located: Located | None
    unavailable: str
    broken: str
    keep: str
    facts: dict[str, Any]  # Any: JSON values
    smaller: PlannedCell | None = None

    def built_on(self, smaller: PlannedCell | None) -> PlannedCell:
        """The same cell, and with it another id, where it builds on another smaller eps, or on none."""
        more = {} if smaller is None else {"smaller_eps": hash_of(smaller.id)}
        return replace(self, id=self.cell.id({**self.facts, **more}), smaller=smaller)


@dataclass(frozen=True, slots=True)
class Plan:
    """A suite that can be run.

    Attributes:
        suite: as checked.
        dataset: the images that it asks for.
        cells: its cells, in the order of running.
        calibration: clean images for the thresholds of detectors; ``None`` where no defense needs any.
    """

    suite: Suite
    dataset: Dataset
    cells: tuple[PlannedCell, ...]
    calibration: Dataset | None = None


def load_plugins(loaded: LoadedSuite, places: Places) -> None:
    """Runs the plugin files that the suite names, where the user allows it.

    Raises:
        PluginError: where the user hasn't allowed it.
    """
    if loaded.plugins and not places.allow_plugins:
        files = ", ".join(str(path) for path in loaded.plugins)
        raise PluginError(
            f"{loaded.path}: plugins: the suite names Python files ({files}), which would run with your rights; "
            "read them, then give --allow-plugins"
        )
    for path in loaded.plugins:
        registry.load_plugin(path)


def preflight(loaded: LoadedSuite, places: Places, note: Callable[[str], None] = lambda text: None) -> Plan:
    """Checks the suite against tables, data and weights, and gives every cell its id.

    Args:
        loaded: the suite.
        places: directories and permissions.
        note: told of what may take long, because it may have to be downloaded.

    Raises:
        SuiteError: with everything in the suite that can't work.
        DatasetError: where the images can't be had.
    """
    load_plugins(loaded, places)
    check(loaded)
    suite = resolve(loaded.suite)
    cells = expand(suite)
    dataset = _images(suite.dataset, places)
    found: dict[str, _Found] = {}
    for cell in cells:
        if cell.model.id not in found:
            if cell.model.source in DOWNLOADED:
                note(f"looking for the weights of {cell.model.source}:{cell.model.name}")
            found[cell.model.id] = _locate(cell.model, _setting(cell, dataset), places)
    calibration = _calibration(suite, cells, dataset, places)
    digest = "" if calibration is None else calibration_digest(calibration)
    planned = _chained([_planned(cell, cells, dataset, found[cell.model.id], suite, digest) for cell in cells], suite)
    _refuse_twins(planned, suite, loaded)
    return Plan(suite, dataset, planned, calibration)


def _calibration(suite: Suite, cells: Sequence[Cell], dataset: Dataset, places: Places) -> Dataset | None:
    """The images for the thresholds of detectors, where there are any."""
    if not any(declared(cell.defense).calibrated for cell in cells):
        return None
    return held_out(suite.calibration, dataset, suite.dataset, places)


def _refuse_twins(planned: Sequence[PlannedCell], suite: Suite, loaded: LoadedSuite) -> None:
    """Two models that are one (a copied file of weights) would share their cells, and one row would be missing."""
    first: dict[str, Cell] = {}
    twins: dict[str, str] = {}
    for one in planned:
        other = first.setdefault(hash_of(one.id), one.cell)
        if other is not one.cell:
            twins.setdefault(one.cell.model.id, other.model.id)
    number = {model.id: index for index, model in enumerate(suite.models)}
    problems = [
        loaded.sources.problem(
            ("models", number[model]),
            f"the model {model} is the model {other} again: the same weights, architecture and preprocessing",
            "each model once",
        )
        for model, other in twins.items()
    ]
    if problems:
        raise SuiteError(problems)


@dataclass(frozen=True, slots=True)
class _Found:
    located: Located | None
    unavailable: str = ""
    broken: str = ""


def _setting(cell: Cell, dataset: Dataset) -> Setting:
    return Setting(dataset.name, cell.threat_model.norm, dataset.num_classes, dataset.shape)


def _images(spec: DatasetSpec, places: Places) -> Dataset:
    """The images; whatever a third party's code raises becomes an error that names it."""
    entry = registry.datasets.entry(spec.name)
    try:
        return datasets.load(spec, places)
    except (Exception, SystemExit) as error:
        if isinstance(error, BenchError) or entry.origin == "bench":
            raise
        raise DatasetError(f"{spec.name} (from {entry.origin}) raised {type(error).__name__}: {error}") from error


def _locate(spec: ModelSpec, setting: Setting, places: Places) -> _Found:
    """Finds the weights; a model that can't be used stops its own cells, not the others'."""
    try:
        return _Found(models.locate(spec, setting, places))
    except ModelUnavailable as error:
        return _Found(None, unavailable=str(error))
    except BenchError as error:
        return _Found(None, broken=str(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge of the model's cells: they become errors)
        return _Found(None, broken=f"{spec.id}: {spec.source} raised {type(error).__name__}: {error}")


def _planned(
    cell: Cell, cells: Sequence[Cell], dataset: Dataset, found: _Found, suite: Suite, calibration: str
) -> PlannedCell:
    identity = facts(cell, dataset.digest, found.located, suite.run.shard_size, calibration)
    keep = "all" if is_read(cell, cells) else "none" if cell.role == "oblivious" else suite.run.save_adversarial
    return PlannedCell(cell, cell.id(identity), found.located, found.unavailable, found.broken, keep, identity)


def _chained(planned: list[PlannedCell], suite: Suite) -> tuple[PlannedCell, ...]:
    """Lets cells build on smaller eps; those that are built on keep their successes, whatever else is kept.

    Libraries that draw from global generators attack fixed chunks of samples, and taking some away would change the
    others' draws: they attack everything at every eps.
    """
    if suite.run.reuse == "none":
        return tuple(planned)
    cells = [one.cell for one in planned]
    smaller = [
        None if attack_of(cell).chunked else below for cell, below in zip(cells, next_smaller(cells), strict=True)
    ]
    for place in {below for below in smaller if below is not None}:
        if planned[place].keep == "none":
            planned[place] = replace(planned[place], keep="successes")
    for place in running_order(cells):
        below = smaller[place]
        if below is not None:
            planned[place] = planned[place].built_on(planned[below])
    return tuple(planned)


def build_all(plan: Plan, loaded: LoadedSuite, places: Places, device: torch.device) -> None:
    """Builds every model once and tries it on two images, for ``bench validate``.

    Raises:
        SuiteError: with every model that can't be used. One that merely can't be had here is no fault of the suite.
    """
    problems: list[Problem] = []
    worker = Worker(plan.dataset, places, device, calibration=plan.calibration)
    number = {model.id: index for index, model in enumerate(plan.suite.models)}
    for model in plan.suite.models:
        planned = next((one for one in plan.cells if one.cell.model.id == model.id), None)
        if planned is None or planned.unavailable:
            continue
        text = planned.broken
        if not text:
            try:
                worker.model(planned.cell.model, planned.cell.threat_model.norm)
            except BenchError as error:
                text = str(error)
        if text:
            problems.append(loaded.sources.problem(("models", number[model.id]), text))
    if problems:
        raise SuiteError(problems)
