"""Cells of examples that a person submitted: which row they belong to, and what their verdicts depend on.

An id is made of what the judge's verdict depends on alone: the file, and the row's weights, code, data, defense and ball. How
an attack of the suite would take a gradient is not in it, so that more EOT draws or another surrogate lose no submission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bench.datasets.held_out import calibration_digest
from bench.errors import SchemaError, StoreError
from bench.runner.facts import row_facts
from bench.runner.preflight import Plan, PlannedCell
from bench.store.records import CellResult
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.cells import Cell, digest
from bench.suites.spec import AttackSpec, DefenseSpec, ThreatModelSpec

NAME = "submitted"
"""Name of the attack in the records: a person's own."""


def rows_of(plan: Plan) -> dict[tuple[str, str, ThreatModelSpec], PlannedCell]:
    """By model, defense and threat model a cell of each row of the leaderboard."""
    rows: dict[tuple[str, str, ThreatModelSpec], PlannedCell] = {}
    for planned in plan.cells:
        cell = planned.cell
        if cell.role != "prerequisite":
            rows.setdefault((cell.model.id, cell.defense_id, cell.threat_model), planned)
    return rows


def submitted_cell(plan: Plan, row: PlannedCell, attack: AttackSpec, seed: int) -> PlannedCell:
    """The cell of a submission.

    Args:
        plan: the suite.
        row: any cell of the row.
        attack: the author's name as its id; ``args`` with the ``digest`` of the file.
        seed: of the draws that score it.
    """
    cell = replace(
        row.cell, role="submitted", attack=attack, adversary="adaptive", seed=seed, search="first_success",
        precision="float32", source=None,
    )  # fmt: skip
    facts = _facts(plan, row)
    return PlannedCell(cell, submitted_id(cell, facts), row.located, row.unavailable, row.broken, "successes", facts)


def _facts(plan: Plan, row: PlannedCell) -> dict[str, Any]:  # Any: JSON values
    calibration = "" if plan.calibration is None else calibration_digest(plan.calibration)
    return row_facts(row.cell, plan.dataset.digest, row.located, calibration, defended=row.defended)


def submitted_id(cell: Cell, facts: Mapping[str, Any]) -> str:  # Any: JSON values
    """The id of a submission's cell.

    Args:
        cell: the cell; ``digest`` among the attack's ``args`` is the file's.
        facts: as :func:`bench.runner.facts.row_facts` gives them.
    """
    attack = AttackSpec(name=NAME, args={"digest": cell.attack.args["digest"]})
    judged = replace(cell, attack=attack, defense=_as_judged(cell.defense))
    return f"{cell.slug}-{digest(judged.identity(facts))}"


def _as_judged(defense: DefenseSpec) -> DefenseSpec:
    """A defense without what only an attack's gradient takes from it."""
    chain = tuple(_as_judged(link) for link in defense.chain)
    return defense.model_copy(update={"eot_iter": None, "surrogate": None, "chain": chain})


def carried_over(directory: RunDirectory, plan: Plan, note: Callable[[str], None]) -> tuple[str, ...]:
    """Ids of the submissions whose row the suite still has, with the same weights, code and images.

    Where a model or a defense has another name now, the record gets it.

    Args:
        directory: the run.
        plan: the suite as it is now.
        note: told of those that don't count any more.

    Raises:
        SchemaError: where a newer bench has written a record.
    """
    kept = []
    rows = list(rows_of(plan).values())
    for result in _records(directory, note):
        found = _again(plan, rows, result)
        if found is None:
            defense = "" if result.defense.name == "none" else f" + {result.defense_id}"
            note(
                f"examples that {result.attack_id} submitted against {result.model.id}{defense} under "
                f"{result.threat_model.label} aren't counted: the suite no longer has that row with the same weights, code "
                "and images"
            )
            continue
        kept.append(found.id)
        cell = found.cell
        renamed = result.model_copy(update={"cell": found.id, "model": cell.model, "defense": cell.defense})
        if renamed != result:
            directory.write_cell(renamed)
    return tuple(kept)


def _again(plan: Plan, rows: list[PlannedCell], result: CellResult) -> PlannedCell | None:
    """The submission's cell in the suite as it is now."""
    for row in rows:
        if row.located is not None and row.cell.threat_model == result.threat_model:
            found = submitted_cell(plan, row, result.attack, result.seed)
            if hash_of(found.id) == hash_of(result.cell):
                return found
    return None


def _records(directory: RunDirectory, note: Callable[[str], None]) -> Iterator[CellResult]:
    for path in sorted((directory.path / "cells").glob(f"{NAME}-*.json")):
        try:
            result = directory.read_cell(path.stem)
        except SchemaError:
            raise
        except StoreError as error:
            note(f"{str(error).splitlines()[0]}; if it is a submission, it isn't counted: submit the file again")
            continue
        if result is not None and result.role == "submitted" and result.status == "done":
            yield result
