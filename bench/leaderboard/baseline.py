"""Baselines: what a run found, small enough to lie beside the code, so that a later run can be paired with it.

A baseline is JSON for people and for diffs: keys in a fixed order, every list of verdicts on a line of its own (hexadecimal,
one bit a sample, the first sample in the highest bit), no paths. Examples that people submitted are left out: they belong to
a run, not to a suite.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from bench.digests import value_digest
from bench.errors import SchemaError, StoreError
from bench.leaderboard.cells import definition, named_cells
from bench.leaderboard.corruption_baseline import BaselineCorrupted, corrupted_rows
from bench.leaderboard.definitions import define, severities
from bench.leaderboard.records import Record
from bench.leaderboard.verdicts import Verdicts, verdicts_of
from bench.store.atomic import write_text
from bench.store.cell_outcome import CellOutcome, OutcomeStatus, least_correct
from bench.store.damage import damage
from bench.store.outcomes import RowOutcome, RunOutcome, address, read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.cells import Role

SCHEMA_VERSION = 2
"""2 added ``corrupted``."""


class BaselineCell(Record):
    """One cell of a row."""

    role: Role
    status: OutcomeStatus
    definition: str
    """key of its attack in ``definitions``; empty where it isn't finished"""
    robust: Verdicts | None
    """``None`` where it isn't done"""
    passes: float
    """forward and backward passes over all samples"""
    seconds: float
    flags: dict[str, str] = {}
    """severity by rule: warnings, and what makes it invalid"""


class BaselineRow(Record):
    """One (model, defense) under one threat model."""

    threat_model: str
    """``norm:eps``, eps as an exact fraction"""
    model: str
    defense: str
    definition: str
    """key of the defense in ``definitions``"""
    complete: bool
    clean: Verdicts | None
    worst: Verdicts | None
    flags: dict[str, str] = {}
    """severity by rule, of what speaks of the row as a whole"""
    cells: dict[str, BaselineCell]

    @property
    def label(self) -> str:
        """For people: the model, and the defense where there is one."""
        return self.model if self.defense == "none" else f"{self.model} + {self.defense}"


class BaselineDataset(Record):
    """The source of the images."""

    name: str
    digest: str


class BaselineSamples(Record):
    """The images, in the dataset's order."""

    count: int
    digest: str
    """sha256 of the list of their digests as JSON"""


class Baseline(Record):
    """A baseline file."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    made: str
    """when the run was, ISO 8601"""
    dataset: BaselineDataset
    samples: BaselineSamples
    audited: bool
    """whether the run was audited, and nothing has changed since"""
    definitions: dict[str, dict[str, Any]]  # Any: JSON values
    """attacks and defenses with all parameters, by digest"""
    rows: tuple[BaselineRow, ...]
    corrupted: tuple[BaselineCorrupted, ...] = ()
    """the same models and defenses under common corruptions"""

    @property
    def keys(self) -> list[tuple[str, str, str]]:
        """What its rows are found by, those under common corruptions last."""
        return [*map(key_of, self.rows), *map(key_of, self.corrupted)]

    def row(self, key: tuple[str, str, str]) -> BaselineRow | None:
        """The row of a threat model, a model and a defense."""
        return next((row for row in self.rows if key_of(row) == key), None)

    def corrupted_row(self, key: tuple[str, str, str]) -> BaselineCorrupted | None:
        """The row of a model and a defense under common corruptions."""
        return next((row for row in self.corrupted if key_of(row) == key), None)


def key_of(row: BaselineRow | BaselineCorrupted) -> tuple[str, str, str]:
    """What a row is found by."""
    return row.threat_model, row.model, row.defense


def snapshot(run: RunDirectory, like: Baseline | None = None) -> Baseline:
    """What a run found, in the form of a baseline.

    Args:
        run: the run.
        like: a baseline whose cells alone count in each worst case; cells that it lacks are kept beside them.

    Raises:
        StoreError: where the records can't be read, or a sample has no row in any cell.
    """
    outcome = read_outcomes(run)
    lacking = sum(not digest for digest in outcome.sample_digests) or (0 if outcome.sample_digests else 1)
    if lacking:
        raise StoreError(f"{run.path}: {lacking:,} samples have no row in any cell; run the suite again")
    definitions: dict[str, dict[str, Any]] = {}  # Any: JSON values
    rows = tuple(_row(row, definitions, like) for row in outcome.rows)
    corrupted = corrupted_rows(outcome.corrupted, definitions)
    record = outcome.record
    return Baseline(
        suite=record.suite.name,
        made=record.finished or record.started,
        dataset=BaselineDataset(
            name=str(record.dataset.get("name") or ""), digest=str(record.dataset.get("digest") or "")
        ),
        samples=BaselineSamples(count=outcome.samples, digest=value_digest(list(outcome.sample_digests))),
        audited=_audited(outcome),
        definitions=dict(sorted(definitions.items(), key=lambda item: (str(item[1].get("name")), item[0]))),
        rows=rows,
        corrupted=corrupted,
    )


def incomplete(baseline: Baseline) -> list[str]:
    """Which rows aren't complete, and which of their cells is why."""
    found = []
    for row in baseline.rows:
        if row.complete:
            continue
        why = [f"{name}: {cell.status}" for name, cell in row.cells.items() if cell.status != "done"]
        why += [f"{name}: invalid" for name, cell in row.cells.items() if "invalid" in cell.flags.values()]
        why += ["invalid" for severity in row.flags.values() if severity == "invalid"]
        found.append(f"{row.label} under {row.threat_model} ({', '.join(why) or 'unfinished cells'})")
    for under in baseline.corrupted:
        failed = [f"{name}: {cell.status}" for name, cell in under.cells.items() if cell.status != "done"]
        found += [f"{under.label} under {under.threat_model} ({', '.join(failed)})"] if failed else []
    return found


def write(path: Path, baseline: Baseline) -> None:
    """Writes a baseline; a reader sees the old one or the new one.

    Raises:
        WriteError: where the file can't be written.
    """
    value = baseline.model_dump(mode="json", exclude_none=False)
    text = json.dumps(_without_empty(value), indent=1, ensure_ascii=False)
    write_text(path, text + "\n")


def read(path: Path) -> Baseline:
    """Reads a baseline.

    Raises:
        StoreError: where it isn't there or damaged.
        SchemaError: where a newer bench wrote it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: can't read the baseline: {error}; bench gate RUN --update writes one") from error
    try:
        value = json.loads(text)
    except ValueError as error:
        raise StoreError(f"{path}: damaged, or no baseline: {error}") from error
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SchemaError(
            f"{path}: written by a newer bench (schema {version}, this one reads {SCHEMA_VERSION}); update bench"
        )
    try:
        found = Baseline.model_validate(value)
    except ValidationError as error:
        raise StoreError(f"{path}: damaged, or no baseline: {damage(error)}") from error
    for where, verdicts in _all_verdicts(found):
        try:
            verdicts.check(found.samples.count)
        except StoreError as error:
            raise StoreError(f"{path}: {where}: {error}") from error
    return found


def _all_verdicts(found: Baseline) -> Iterator[tuple[str, Verdicts]]:
    """All there are, and where they stand."""
    rows: list[tuple[BaselineRow | BaselineCorrupted, dict[str, Verdicts | None]]] = [
        *((row, {"worst": row.worst, **{name: cell.robust for name, cell in row.cells.items()}}) for row in found.rows),
        *((row, {name: cell.right for name, cell in row.cells.items()}) for row in found.corrupted),
    ]
    for row, verdicts in rows:
        for name, one in {"clean": row.clean, **verdicts}.items():
            if one is not None:
                yield f"{row.label} under {row.threat_model}, {name}", one


def _without_empty(value: Any) -> Any:  # Any: JSON values
    """Without the keys of verdicts that are not used."""
    if isinstance(value, dict):
        return {
            key: _without_empty(item) for key, item in value.items() if not (key in ("bits", "shares") and item is None)
        }
    return [_without_empty(item) for item in value] if isinstance(value, list) else value


def _audited(outcome: RunOutcome) -> bool:
    return outcome.audited is not None and not outcome.outdated


def _row(row: RowOutcome, definitions: dict[str, dict[str, Any]], like: Baseline | None) -> BaselineRow:
    ball = address(row.threat_model)
    cells = named_cells(cell for cell in row.cells if cell.role != "submitted")
    known = None if like is None else like.row((ball, row.model, row.defense))
    counted = tuple(
        cell for name, cell in cells.items() if cell.role != "certificate" and (known is None or name in known.cells)
    )
    result = next((cell.result for cell in row.cells if cell.result is not None and cell.role != "prerequisite"), None)
    return BaselineRow(
        threat_model=ball,
        model=row.model,
        defense=row.defense,
        definition="" if result is None else define(result.defense.model_dump(mode="json"), definitions),
        complete=row.complete,
        clean=verdicts_of(row.clean_correctness) if row.known.all() else None,
        worst=verdicts_of(least_correct(counted)) if counted and row.known.any() else None,
        flags=severities(row.findings),
        cells={name: _cell(cell, definitions) for name, cell in cells.items()},
    )


def _cell(cell: CellOutcome, definitions: dict[str, dict[str, Any]]) -> BaselineCell:
    result = cell.result
    cost = None if result is None else result.cost
    return BaselineCell(
        role=cell.role,
        status=cell.status,
        definition="" if result is None else define(definition(result), definitions),
        robust=verdicts_of(cell.correctness) if cell.status == "done" else None,
        passes=round(float(np.nansum(cell.passes)), 1),
        seconds=0.0 if cost is None else float(f"{cost.seconds:.3g}"),
        flags=severities([*(() if result is None else result.flags), *cell.findings]),
    )
