"""The plan of a suite for given devices: measured speeds times what attacks spend, on a simulated schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.runner.corruption_run import row_label
from bench.runner.events import Progress, Silent
from bench.runner.options import RunSettings
from bench.runner.pending import state as how_far
from bench.runner.plan import TO_TRAIN, without_model
from bench.runner.planning import files, fleet, taken
from bench.runner.planning.calibrate import Planned, label_of, row_key
from bench.runner.planning.costs import Costs, pending_rows
from bench.runner.planning.known import Known
from bench.runner.planning.record import CellForecast, DevicesForecast, Forecast, Range, RowForecast, between, total
from bench.runner.planning.schedule import Schedule, Timing, simulate
from bench.runner.planning.sources import KindSpeeds, Speeds
from bench.runner.planning.speeds import Calibration
from bench.runner.planning.work import Work, pending_work
from bench.runner.preflight import preflight
from bench.runner.provenance import now
from bench.runner.run import run_suite
from bench.store.corrupted import CorruptionStore
from bench.store.run_directory import RunDirectory
from bench.suites.loaded import LoadedSuite


@dataclass(frozen=True, slots=True)
class Request:
    """What a plan is made for.

    Attributes:
        devices: such as ``8xH100``.
        calibrations: files of speeds.
        scale: whether speeds may be scaled by peak rates.
        pilot: samples that are attacked beforehand, to know what attacks spend; 0 for none.
    """

    devices: str
    calibrations: tuple[Path, ...] = ()
    scale: bool = False
    pilot: int = 0


def forecast(
    loaded: LoadedSuite, settings: RunSettings, request: Request, progress: Progress | None = None
) -> Forecast:
    """What the rest of a run is going to take; kept, so that it can be compared with what it takes.

    Args:
        loaded: the suite.
        settings: as for a run; nothing is downloaded if its places say so.
        request: for which devices.
        progress: hears of the pilot, and of what is measured.

    Raises:
        BenchError: where devices or files make no sense, or the speeds of a device aren't known.
    """
    progress = progress or Silent()
    given = tuple(files.read(path, Calibration) for path in reversed(request.calibrations))
    plan = preflight(loaded, settings.places)
    source = Speeds(plan, settings, given, request.scale, progress.note)
    groups = fleet.parse(request.devices, source.known)
    work = pending_work(plan, RunDirectory(settings.directory(plan.suite.name)))
    rows, several = pending_rows(work), sum(group.count for group in groups) > 1
    speeds = {group.kind: source.of(group.kind, rows, several=several) for group in groups}
    if request.pilot and rows:
        with source.threads(several=several):
            _pilot(loaded, settings, request.pilot, progress)
    found = _put_together(work, settings, groups, speeds)
    if rows:
        taken.keep(files.forecast_path(settings.results, found.suite, found.run), found)
    return found


def calibrate(loaded: LoadedSuite, settings: RunSettings, path: Path, progress: Progress | None = None) -> Calibration:
    """Measures all rows of a suite on this machine's device, and writes what was found.

    Args:
        loaded: the suite.
        settings: as for a run.
        path: the file.
        progress: hears what is measured.

    Raises:
        WriteError: where the file can't be written.
    """
    plan = preflight(loaded, settings.places)
    rows: dict[str, Planned] = {}
    for one in plan.every:
        if not one.unavailable and not one.broken:
            rows.setdefault(row_key(one, plan.dataset.shape), one)
    note = (progress or Silent()).note
    found = Speeds(plan, settings, note=note).measured_here(list(rows.values()))
    files.write(path, found)
    return found


def _pilot(loaded: LoadedSuite, settings: RunSettings, samples: int, progress: Progress) -> None:
    """Attacks the first samples, in a run beside the user's."""
    dataset = loaded.suite.dataset
    fewer = dataset.model_copy(update={"samples": min(samples, dataset.samples or samples)})
    suite = loaded.suite.model_copy(update={"dataset": fewer, "corruptions": None})
    run_suite(replace(loaded, suite=suite), replace(settings, results=files.pilots(settings.results)), progress)


def _put_together(
    work: Work, settings: RunSettings, groups: Sequence[fleet.Group], speeds: Mapping[str, KindSpeeds]
) -> Forecast:
    plan = work.plan
    costs = Costs(work, speeds, Known(plan, settings))
    kinds = [group.kind for group in groups for _ in range(group.count)]
    low, middle, high = (
        simulate(
            work.without(costs.unknown),
            kinds,
            Timing(partial(costs.seconds, bound=bound), costs.load, costs.warm),
        )
        for bound in ("low", "middle", "high")
    )
    cells = tuple(_cells(work, costs, settings, (low, middle, high)))
    sure = all(cell.seconds is None or cell.seconds.middle is not None for cell in cells)
    likely = middle if sure else high
    return Forecast(
        suite=plan.suite.name,
        run=settings.run,
        made=now(),
        devices=tuple(
            DevicesForecast(
                count=one.count, kind=one.kind, origin=speeds[one.kind].origin, source=speeds[one.kind].source
            )
            for one in groups
        ),
        cells=cells,
        rows=tuple(_summed(cells)),
        seconds=between(low.seconds, middle.seconds, high.seconds, sure=sure),
        wall=between(low.makespan, middle.makespan, high.makespan, sure=sure),
        busy=likely.seconds / (len(kinds) * likely.makespan) if likely.makespan else None,
        last=next((one.cell.label for one in plan.every if one.id == likely.last), ""),
        longest=likely.longest,
    )


def _cells(
    work: Work, costs: Costs, settings: RunSettings, schedules: tuple[Schedule, Schedule, Schedule]
) -> Iterator[CellForecast]:
    """The attack cells, and the corruption cells of each row on one line."""
    directory = RunDirectory(settings.directory(work.plan.suite.name))
    corrupted = CorruptionStore(directory)
    lines: list[tuple[str, Sequence[Planned]]] = [(one.cell.label, [one]) for one in work.plan.cells]
    lines += [(row_label(row), row) for row in work.plan.corrupted.rows]
    for label, planned in lines:
        ids = [one.id for one in planned]
        samples = sum(work.samples(cell) for cell in ids)
        state = _state(work, planned, samples)
        if state == TO_TRAIN:
            samples = len(planned) * len(work.plan.dataset)
        spending = costs.spending.get(ids[0])
        before = taken.spent(directory, corrupted, ids if samples else [])
        yield CellForecast(
            cells=tuple(ids),
            label=label,
            row=label_of(planned[0].cell),
            state=state,
            samples=samples,
            seconds=_seconds(work, costs, planned, schedules),
            known="" if spending is None else spending.source,
            before=before.seconds,
            evaluated=before.samples,
        )


def _state(work: Work, planned: Sequence[Planned], samples: int) -> str:
    first = planned[0]
    if first.unavailable or first.broken:
        return without_model(work.plan, first)
    return "damaged" if first.id in work.damaged else how_far(samples, len(planned) * len(work.plan.dataset))


def _seconds(
    work: Work, costs: Costs, planned: Sequence[Planned], schedules: tuple[Schedule, Schedule, Schedule]
) -> Range | None:
    """Of the devices; ``None`` where nobody knows."""
    first = planned[0]
    if first.unavailable or first.broken or first.id in work.damaged or first.id in costs.unknown:
        return None
    low, middle, high = (sum(schedule.cells.get(one.id, 0.0) for one in planned) for schedule in schedules)
    spending = costs.spending.get(first.id)
    return between(low, middle, high, sure=spending is None or spending.known)


def _summed(cells: Sequence[CellForecast]) -> Iterator[RowForecast]:
    for label in dict.fromkeys(cell.row for cell in cells):
        own = [cell for cell in cells if cell.row == label]
        unknown = sum(cell.seconds is None and bool(cell.samples) for cell in own)
        yield RowForecast(label=label, seconds=total([cell.seconds for cell in own if cell.seconds]), unknown=unknown)
