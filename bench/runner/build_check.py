"""Whether every model and defense of a plan can be built and gives logits, for ``bench validate``."""

from __future__ import annotations

import os

import torch

from bench.errors import BenchError, Problem, SuiteError
from bench.runner.preflight import Plan
from bench.runner.worker import Worker
from bench.suites.loaded import LoadedSuite
from bench.suites.places import Places
from bench.suites.references import files, members
from bench.suites.sources import Loc
from bench.suites.spec import DefenseSpec


def build_all(plan: Plan, loaded: LoadedSuite, places: Places, device: torch.device) -> None:
    """Builds every model, and every defense that asks others, once and tries it on two images, for ``bench validate``.

    Raises:
        SuiteError: with every model and defense that can't be used. A model that merely can't be had here is no fault of
            the suite.
    """
    problems: list[Problem] = []
    worker = Worker(plan.dataset, places, device, calibration=plan.calibration)
    number = {model.id: index for index, model in enumerate(plan.suite.models)}
    for model in plan.suite.models:
        planned = next((one for one in plan.every if one.cell.model.id == model.id), None)
        if planned is None or (planned.located is None and planned.unavailable):
            continue
        text = planned.broken if planned.located is None else ""
        if not text:
            try:
                worker.model(planned.cell.model, planned.cell.norm)
            except BenchError as error:
                text = str(error)
        if text:
            problems.append(loaded.sources.problem(("models", number[model.id]), text))
    problems += _defense_problems(plan, loaded, worker)
    if problems:
        raise SuiteError(problems)


def _defense_problems(plan: Plan, loaded: LoadedSuite, worker: Worker) -> list[Problem]:
    """Defenses that can't be used: files that aren't there, members that give no logits for these images."""
    problems: list[Problem] = []
    for index, defense in enumerate(plan.suite.defenses):
        rows = [one for one in plan.every if one.cell.defense.id == defense.id and one.located is not None]
        text = next((one.broken for one in rows if one.broken), "")
        ready = next((one.cell for one in rows if not one.broken and not one.unavailable), None)
        if not text and ready is not None and members(defense):
            try:
                worker.target(ready)
            except BenchError as error:
                text = str(error)
        if text:
            problems.append(loaded.sources.problem(_missing_file(defense, ("defenses", index)), text))
    return problems


def _missing_file(defense: DefenseSpec, loc: Loc) -> Loc:
    """The place of a defense's first file that isn't there; the defense's own place where all are."""
    places = [(*loc, "chain", place) for place in range(len(defense.chain))] or [loc]
    for link, where in zip(defense.links, places, strict=False):
        for key, path in files(link).items():
            if not os.path.exists(os.path.expanduser(path)):
                return (*where, "args", key)
    return loc
