"""From the rows of a finished cell to its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import metrics
from bench.errors import StoreError
from bench.runner.asked import asked
from bench.runner.cell_flags import cell_flags
from bench.runner.preflight import Plan, PlannedCell
from bench.runner.provenance import now
from bench.store.parts import ShardReport, join_precisions
from bench.store.records import SMALLER_EPS, CellResult, Cost, Estimate, Flag, StageResult, Status
from bench.suites.cells import Cell
from bench.suites.spec import Suite

if TYPE_CHECKING:
    import pandas as pd


def finished(
    plan: Plan, planned: PlannedCell, rows: pd.DataFrame, reports: list[ShardReport], environment: dict[str, Any]
) -> CellResult:
    """The record of a cell whose samples are all there.

    Args:
        plan: the suite and its dataset.
        planned: the cell.
        rows: all its rows; those of samples that the suite doesn't ask for are left out.
        reports: what its shards cost.
        environment: versions and device.

    Raises:
        StoreError: where a sample's row is missing.
        MetricError: where a metric can't be computed.
    """
    wanted = rows[asked(rows, plan.dataset.sample_ids)]
    if len(wanted) != len(plan.dataset):
        raise StoreError(f"{planned.id}: {len(plan.dataset) - len(wanted)} samples have no row")
    found = figures(plan.suite, planned.cell, wanted, reports)
    return _record(plan, planned, "done", environment, **found._asdict())


class Figures(NamedTuple):
    """What a cell's record says of its rows, by the record's own names."""

    metrics: dict[str, Estimate]
    stages: tuple[StageResult, ...]
    cost: Cost
    flags: tuple[Flag, ...]
    precision: str


def figures(suite: Suite, cell: Cell, rows: pd.DataFrame, reports: list[ShardReport]) -> Figures:
    """All that follows from the rows of a cell and the reports of its shards.

    Args:
        suite: names the metrics, and says who attacks.
        cell: the cell.
        rows: of the samples that count.
        reports: what its shards cost.

    Raises:
        MetricError: where a metric can't be computed.
    """
    if cell.search != "strongest":  # what stopped early leaves no minimal distance to take a median of
        rows = rows.assign(minimal_distance=math.nan)
    return Figures(
        metrics=metrics.compute(rows, suite.metrics, norm=cell.threat_model.norm),
        stages=_stages(rows, reports),
        cost=_cost(reports, reused=int((rows["stage"] == SMALLER_EPS).sum())),
        flags=cell_flags(suite, cell, rows, reports),
        precision=join_precisions(one for report in reports for one in report.precisions),
    )


def sealed(result: CellResult, seals: Mapping[str, str]) -> CellResult:
    """The record with the digests of the files that its number rests on."""
    return result.model_copy(update={"provenance": {**result.provenance, "parts": dict(seals)}})


def failed(
    plan: Plan, planned: PlannedCell, status: Status, reason: str, traceback: str, environment: dict[str, Any]
) -> CellResult:
    """The record of a cell that is an error or unavailable; it has no number."""
    return _record(plan, planned, status, environment, reason=reason, traceback=traceback)


def _record(
    plan: Plan, planned: PlannedCell, status: Status, environment: dict[str, Any], precision: str = "", **more: Any
) -> CellResult:
    cell, located = planned.cell, planned.located
    provenance = {
        "weights": located.weights_digest if located else None,
        "architecture": located.architecture_digest if located else None,
        "recipe": located.recipe or None if located else None,
        "dataset": plan.dataset.digest,
        "facts": planned.made_of,
        "precision": cell.precision,
        "published": list(located.published) if located and located.published else None,
        "model_note": located.note if located else "",
        "environment": environment,
        "finished": now(),
    }
    return CellResult(
        cell=planned.id,
        role=cell.role,
        status=status,
        dataset=cell.dataset,
        model=cell.model,
        defense=cell.defense,
        threat_model=cell.threat_model,
        attack=cell.attack,
        adversary=cell.adversary,
        seed=cell.seed,
        search=cell.search,
        precision=precision or cell.precision,
        samples=len(plan.dataset),
        source=cell.source,
        provenance=provenance,
        **more,
    )


def _cost(reports: list[ShardReport], *, reused: int) -> Cost:
    seconds = sum(report.seconds for report in reports)
    samples = sum(report.samples for report in reports)
    purified = [report.purify_seconds for report in reports if report.purify_seconds is not None]
    peaks = [report.peak_memory for report in reports if report.peak_memory is not None]
    return Cost(
        seconds=seconds,
        images_per_second=samples / seconds if seconds > 0 else None,
        forwards=sum(report.forwards for report in reports),
        backwards=sum(report.backwards for report in reports),
        peak_memory=max(peaks, default=None),
        purify_ms=1000 * sum(purified) / samples if purified and samples else None,
        reused=reused,
    )


def _stages(rows: pd.DataFrame, reports: list[ShardReport]) -> tuple[StageResult, ...]:
    """What each stage of an ensemble left robust, by the judge's verdicts; the first is what a smaller eps had broken."""
    names = list(dict.fromkeys(stage.name for report in reports for stage in report.stages))
    left, results = int(rows["clean_correct"].sum()), []
    reused = int((rows["success"] & (rows["stage"] == SMALLER_EPS)).sum())
    if names and reused:
        spared = (left - reused) / len(rows)
        results.append(StageResult(name=SMALLER_EPS, attacked=left, broken=reused, robust_accuracy=spared, seconds=0.0))
        left -= reused
    for name in names:
        broken = int((rows["success"] & (rows["stage"] == name)).sum())
        left -= broken
        costs = [stage for report in reports for stage in report.stages if stage.name == name]
        results.append(
            StageResult(
                name=name,
                attacked=sum(stage.attacked for stage in costs),
                broken=broken,
                robust_accuracy=left / len(rows),
                seconds=sum(stage.seconds for stage in costs),
            )
        )
    return tuple(results)
