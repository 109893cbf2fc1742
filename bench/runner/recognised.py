"""Which cells are finished, by their records and the digests of their files: no row of them is read."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from bench import registry
from bench.digests import file_digest, value_digest
from bench.errors import SchemaError, StoreError
from bench.runner.cell_flags import weak_adversary
from bench.runner.facts import code_of
from bench.runner.preflight import Plan, PlannedCell
from bench.runner.provenance import code_digest, version, versions
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory, hash_of

FILE = ".finished"
"""In the run's directory; without it nothing is lost but time."""


class _Line(NamedTuple):
    """What a cell's record was when it was last made of its rows."""

    cell: str
    """hash at the end of the id"""
    record: str
    """sha256 of the record's file"""
    made_of: str
    """digest of all that the record follows from beside the rows"""


class Recognised:
    """Knows the cells whose records were made of the files that lie there now, by the code that is here now.

    A record holds the digest of each of its parts. Where they all are as they were, and the record too, and everything else
    that it follows from, aggregating the rows would give the same record again.

    Args:
        plan: the suite.
        directory: the run.
    """

    def __init__(self, plan: Plan, directory: RunDirectory) -> None:
        self._directory, self._path = directory, directory.path / FILE
        self._lines = _read(self._path)
        self._found: dict[str, CellResult | None] = {}
        self._specs: dict[int, tuple[BaseModel, str]] = {}
        self._suite = suite = plan.suite
        self._common = value_digest(
            {
                "code": code_digest(),
                "versions": {**versions(), "scipy": version("scipy")},
                "metrics": {name: code_of(registry.metrics.entry(name)) for name in suite.metrics},
                "dataset": plan.dataset.digest,
                "samples": plan.dataset.sample_ids,
            }
        )

    def result(self, planned: PlannedCell) -> CellResult | None:
        """The record of a cell that needs nothing more; ``None`` where its rows must be looked at."""
        if planned.id not in self._found:
            self._found[planned.id] = self._result(planned)
        return self._found[planned.id]

    def add(self, planned: PlannedCell) -> None:
        """A cell's record was made of its rows just now."""
        path = self._directory.cell_path(planned.id)
        if path is None:
            return
        line = _Line(hash_of(planned.id), file_digest(path), self._made_of(planned))
        if self._lines.get(line.cell) == line:
            return
        self._lines[line.cell] = line
        self._found.pop(planned.id, None)
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:  # it would save time, no more
            file.write(f"\n{json.dumps(line)}\n")  # first an end: a killed process may have left half a line

    def _result(self, planned: PlannedCell) -> CellResult | None:
        line, path = self._lines.get(hash_of(planned.id)), self._directory.cell_path(planned.id)
        if line is None or path is None or line.made_of != self._made_of(planned):
            return None
        try:
            if file_digest(path) != line.record:
                return None
            result = self._directory.read_cell(planned.id)
            known = result is not None and result.cell == planned.id and result.status == "done" and self.sealed(result)
            return result if known else None
        except SchemaError:
            raise
        except (OSError, StoreError):
            return None

    def sealed(self, result: CellResult) -> bool:
        """Whether the files that a record speaks of lie there, as they were.

        Raises:
            StoreError: where one can't be read.
        """
        seals = result.provenance.get("parts")
        return bool(seals) and self._directory.seals(result.cell) == seals

    def _made_of(self, planned: PlannedCell) -> str:
        cell = planned.cell
        specs: list[BaseModel | None] = [
            cell.dataset, cell.model, cell.defense, cell.threat_model, cell.attack, cell.source
        ]  # fmt: skip
        told = [None if spec is None else self._spec(spec) for spec in specs]
        # What the suite says of the row.
        lacking = [flag.model_dump(mode="json") for flag in weak_adversary(self._suite, cell)]
        return value_digest([self._common, planned.id, planned.keep, cell.role, lacking, *told])

    def _spec(self, spec: BaseModel) -> str:
        """The digest of a part of the suite, which many cells share."""
        if id(spec) not in self._specs:
            self._specs[id(spec)] = (spec, value_digest(spec.model_dump(mode="json")))
        return self._specs[id(spec)][1]


def _read(path: Path) -> dict[str, _Line]:
    """The last line of each cell; one that isn't whole is none."""
    found: dict[str, _Line] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return found
    for written in text.splitlines():
        with suppress(ValueError, TypeError):
            line = _Line(*json.loads(written))
            found[line.cell] = line
    return found
