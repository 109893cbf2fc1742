"""``run.json`` of a run, as its driver writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.errors import SchemaError, StoreError
from bench.runner.preflight import Plan
from bench.runner.provenance import command, now
from bench.store.records import JoinedRun, RunRecord
from bench.store.run_directory import RunDirectory

_WHEN = {"command", "started", "finished", "environment"}
"""What is told of the command that evaluated something last."""


class RunFile:
    """Writes it, and knows whether it says the same already.

    Args:
        directory: the run.
        name: the run's.
        environment: versions and devices.

    Attributes:
        joined: the runs that it was joined from before.
    """

    def __init__(self, directory: RunDirectory, name: str, environment: dict[str, Any]) -> None:  # Any: JSON values
        self._directory, self._name, self._environment = directory, name, environment
        self._started = now()
        self.joined: tuple[JoinedRun, ...] = ()

    def write(self, plan: Plan, submitted: Sequence[str], finished: str | None) -> None:
        """Writes it.

        Args:
            plan: the suite.
            submitted: ids of the cells of submissions.
            finished: when the run ended; ``None`` while it goes on.
        """
        self._directory.write_run(self._record(plan, submitted, finished))

    def current(self, plan: Plan, submitted: Sequence[str]) -> bool:
        """Whether it was written by a run that ended, and says the same as it would now, apart from when and where."""
        try:
            old = self._directory.read_run()
        except SchemaError:
            raise
        except StoreError:
            return False
        new = self._record(plan, submitted, None)
        return old.finished is not None and old.model_dump(exclude=_WHEN) == new.model_dump(exclude=_WHEN)

    def _record(self, plan: Plan, submitted: Sequence[str], finished: str | None) -> RunRecord:
        dataset = plan.dataset
        return RunRecord(
            suite=plan.suite,
            run=self._name,
            command=command(),
            started=self._started,
            finished=finished,
            cells=(*(planned.id for planned in plan.cells), *submitted),
            corruption_cells=tuple(planned.id for planned in plan.corrupted.cells),
            positions=tuple(int(position) for position in dataset.positions),
            dataset={
                "name": dataset.name,
                "digest": dataset.digest,
                "samples": len(dataset),
                "num_classes": dataset.num_classes,
                "class_names": list(dataset.class_names),
                "shape": list(dataset.shape),
                "note": dataset.note,
            },
            environment=self._environment,
            joined=self.joined,
        )
