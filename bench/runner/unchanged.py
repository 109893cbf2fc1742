"""Whether a row of a run is still what it was when it was run: the same cells, with the same ids."""

from __future__ import annotations

from collections.abc import Iterable

from bench.errors import StoreError, SubmissionError
from bench.runner.preflight import Plan, PlannedCell
from bench.store.records import CellResult, RunRecord
from bench.store.run_directory import RunDirectory, hash_of


def refuse_changed(directory: RunDirectory, record: RunRecord, plan: Plan, row: PlannedCell) -> None:
    """Refuses a row some of whose cells have other ids now.

    Args:
        directory: the run.
        record: its ``run.json``.
        plan: the suite of the run, with what lies here now.
        row: a cell of the row.

    Raises:
        SubmissionError: naming the row and what differs.
    """
    shown = {hash_of(cell) for cell in record.cells}
    found: dict[str, PlannedCell | None] = {}
    own = [one for one in plan.cells if one.cell.role != "prerequisite" and _row(one) == _row(row)]
    changed = [one for one in own if as_shown(one, shown, found) is None]
    if not changed:
        return
    differences = _differences(directory, record, plan, changed)
    what = ", ".join(differences) or "an attack, a defense or a library has another version"
    raise SubmissionError(
        f"{directory.path}: {changed[0].cell.label}: not the cell that was run: {what}; bring that back, or run the suite "
        "again and make the examples against what is here now"
    )


def _row(planned: PlannedCell) -> tuple[str, str, object]:
    cell = planned.cell
    return cell.model.id, cell.defense_id, cell.threat_model


def as_shown(planned: PlannedCell, shown: set[str], found: dict[str, PlannedCell | None]) -> PlannedCell | None:
    """The cell as the run has it, which may build on another smaller eps where one had failed; ``None`` if it hasn't.

    Args:
        planned: a cell of the suite.
        shown: hashes of the cells that the run lists.
        found: what was asked before, by the planned cells' ids; gets the answers.
    """
    if planned.id not in found:
        smaller, below = [], planned.smaller
        while below is not None:
            smaller.append(as_shown(below, shown, found))
            below = below.smaller
        candidates = [planned.built_on(one) for one in smaller if one is not None] + [planned.built_on(None)]
        found[planned.id] = next((one for one in candidates if hash_of(one.id) in shown), None)
    return found[planned.id]


def _differences(
    directory: RunDirectory, record: RunRecord, plan: Plan, changed: Iterable[PlannedCell]
) -> dict[str, None]:
    """What the records of the same row tell of then, beside what is here now; a set in order."""
    found: dict[str, None] = {}
    for planned in changed:
        located = planned.located
        now = {
            "weights": located.weights_digest if located else None,
            "architecture": located.architecture_digest if located else None,
            "dataset": plan.dataset.digest,
        }
        for result in _results(directory, record, planned):
            for key, digest in now.items():
                then = result.provenance.get(key)
                if then is not None and digest is not None and then != digest:
                    found[f"the {key} had the digest {str(then)[:12]}, here it is {digest[:12]}"] = None
    return found


def _results(directory: RunDirectory, record: RunRecord, planned: PlannedCell) -> list[CellResult]:
    results = []
    for cell in record.cells:
        try:
            result = directory.read_cell(cell)
        except StoreError:
            continue
        if result is not None and (result.model.id, result.defense_id, result.threat_model) == _row(planned):
            results.append(result)
    return results
