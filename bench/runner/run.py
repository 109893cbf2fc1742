"""Runs a suite: every pending shard of every cell, saved as it is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import heap
from bench.errors import ConsentError, Interrupted
from bench.runner.devices import choose
from bench.runner.driver import Driver
from bench.runner.events import Progress, Silent
from bench.runner.executors.base import Executor
from bench.runner.executors.local import LocalExecutor
from bench.runner.executors.opening import worker_of
from bench.runner.options import RunSettings
from bench.runner.pending import examples_bytes
from bench.runner.preflight import Plan, preflight
from bench.store.corrupted import CorruptionResult
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory
from bench.suites.loaded import LoadedSuite
from bench.training.suite_recipes import train_all

CONSENT_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a run ended.

    Attributes:
        directory: the run's directory.
        results: the records of the suite's cells, in its order.
        corrupted: those of its corruption cells.
        changed: whether the run's records may be others than before.
    """

    directory: Path
    results: tuple[CellResult, ...]
    corrupted: tuple[CorruptionResult, ...] = ()
    changed: bool = True

    def count(self, status: str) -> int:
        """How many cells have this status."""
        attacked = sum(result.status == status for result in self.results)
        return attacked + sum(result.status == status for result in self.corrupted)


def run_suite(loaded: LoadedSuite, settings: RunSettings | None = None, progress: Progress | None = None) -> RunSummary:
    """Evaluates what isn't evaluated yet, and records every cell.

    Args:
        loaded: the suite.
        settings: where and how.
        progress: hears how it goes on.

    Raises:
        SuiteError: where the suite can't work.
        DatasetError: where the images can't be had.
        WriteError: where the results can't be written; what was finished is saved.
        SchemaError: where a newer bench has written into the run.
        StoreError: where another process is writing into it.
        ConsentError: where more than two gigabytes of examples would be saved without consent.
        Interrupted: on Ctrl-C; what was finished is saved.
    """
    settings, progress = settings or RunSettings(), progress or Silent()
    if settings.executor == "local":
        choose(settings.device)  # refused before anything is looked for
    plan = preflight(loaded, settings.places, progress.note)
    directory = RunDirectory(settings.directory(plan.suite.name))
    size = examples_bytes(plan)
    if size > CONSENT_BYTES and not settings.yes:
        raise ConsentError(
            f"{loaded.path}: run.save_adversarial: the examples could take {size / 1e9:.1f} GB in {directory.path}; "
            "give --yes, or --set run.save_adversarial=none"
        )
    with directory.locked(), heap.kept():
        plan = _trained(loaded, plan, settings, progress)
        executor = _executor(plan, settings, progress, loaded.plugins)
        try:
            environment = {**executor.environment, "compiled": settings.compile}
            driver = Driver(plan, directory, executor, settings, progress, environment)
            return RunSummary(directory.path, *driver.all_cells(), driver.changed)
        except KeyboardInterrupt as error:
            raise Interrupted(f"stopped; what was finished is saved in {directory.path}") from error
        finally:
            executor.close()
            progress.end()


def _trained(loaded: LoadedSuite, plan: Plan, settings: RunSettings, progress: Progress) -> Plan:
    """The plan with the weights of the suite's recipes; those that are missing are trained first, here.

    Raises:
        Interrupted: on Ctrl-C; a training goes on where it was when the suite is run again.
    """
    if not plan.untrained:
        return plan
    try:
        failed = train_all(plan.untrained, device=settings.device, places=settings.places, note=progress.note)
    except KeyboardInterrupt as error:
        raise Interrupted("stopped in a training, whose state is saved") from error
    return preflight(loaded, settings.places, progress.note, failed=failed)


def _executor(plan: Plan, settings: RunSettings, progress: Progress, plugins: tuple[Path, ...]) -> Executor:
    if settings.executor == "ray":
        from bench.runner.executors.starting import ray_executor  # an optional extra

        return ray_executor(plan, settings, progress, plugins)
    worker = worker_of(plan.dataset, plan.calibration, settings, settings.places, choose(settings.device))
    return LocalExecutor(worker, plan.corrupted.images, progress.attacking)
