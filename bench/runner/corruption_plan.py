"""The corruption cells of a suite before they are run: ids, and what stands in their way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.datasets.base import Dataset
from bench.datasets.corruptions import open_corruptions
from bench.datasets.corruptions.base import Corruptions
from bench.errors import DatasetError, DatasetUnavailable
from bench.models.base import Located
from bench.runner.facts import row_facts
from bench.suites.corruption_cells import CorruptionCell
from bench.suites.corruptions import CorruptionsSpec


class Met(NamedTuple):
    """What the preflight found of a row's model and defense."""

    located: Located | None
    unavailable: str
    broken: str
    defended: Mapping[str, Any]  # Any: JSON values
    """the part of the facts that the defense gives"""


@dataclass(frozen=True, slots=True)
class PlannedCorruption:
    """A corruption cell with its id, and what stands in its way, as in :class:`bench.runner.preflight.PlannedCell`."""

    cell: CorruptionCell
    id: str
    located: Located | None
    unavailable: str
    broken: str
    facts: dict[str, Any]  # Any: JSON values


@dataclass(frozen=True, slots=True)
class CorruptionPlan:
    """The corruption cells of a suite, row by row, and their images; ``None`` where these can't be had."""

    cells: tuple[PlannedCorruption, ...] = ()
    images: Corruptions | None = None

    @property
    def rows(self) -> list[list[PlannedCorruption]]:
        """The cells of each (model, defense)."""
        found: dict[tuple[str, str], list[PlannedCorruption]] = {}
        for one in self.cells:
            found.setdefault((one.cell.model.id, one.cell.defense_id), []).append(one)
        return list(found.values())


def plan_corruptions(
    spec: CorruptionsSpec | None,
    cells: Sequence[CorruptionCell],
    dataset: Dataset,
    met: Callable[[CorruptionCell], Met],
    calibration: str,
    *,
    recorded: bool,
) -> CorruptionPlan:
    """Gives every corruption cell its id.

    Args:
        spec: the suite's word; ``None`` where it asks for none.
        cells: its corruption cells.
        dataset: the clean images.
        met: what was found of a cell's model and defense.
        calibration: digest of the images that detectors' thresholds are calibrated on.
        recorded: whether the suite was run before: then files that don't fit are no reason to stop.

    Raises:
        DatasetError: where the published files aren't of these images.
    """
    if spec is None:
        return CorruptionPlan()
    images, reason = None, ""
    try:
        images = open_corruptions(spec, dataset)
    except DatasetUnavailable as error:
        reason = str(error)
    except DatasetError as error:
        if not recorded:
            raise
        reason = str(error)
    made = {key: _facts(images, *key, reason) for key in dict.fromkeys((one.corruption, one.severity) for one in cells)}
    return CorruptionPlan(
        tuple(
            _planned(one, dataset, met(one), *made[one.corruption, one.severity], calibration=calibration)
            for one in cells
        ),
        images,
    )


class _Made(NamedTuple):
    facts: dict[str, Any]  # Any: JSON values
    unavailable: str
    broken: str


def _facts(images: Corruptions | None, corruption: str, severity: int, reason: str) -> _Made:
    """What the images of one corruption depend on, or why they can't be had."""
    unknown = {"files": "unavailable"}
    if images is None:
        return _Made(unknown, reason, "")
    try:
        return _Made(images.facts(corruption, severity), "", "")
    except DatasetUnavailable as error:
        return _Made(unknown, str(error), "")
    except DatasetError as error:
        return _Made(unknown, "", str(error))


def _planned(
    cell: CorruptionCell,
    dataset: Dataset,
    met: Met,
    made: dict[str, Any],  # Any: JSON values
    unavailable: str,
    broken: str,
    *,
    calibration: str,
) -> PlannedCorruption:
    facts = row_facts(cell, dataset.digest, met.located, calibration, defended=met.defended)
    facts["corruption"] = made
    return PlannedCorruption(
        cell, cell.id(facts), met.located, met.unavailable or unavailable, met.broken or broken, facts
    )
