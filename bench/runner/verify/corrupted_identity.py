"""Whether the corruption cells of a run are what they say: their records, the suite with what lies here, the ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.errors import StoreError
from bench.runner.corruption_plan import PlannedCorruption
from bench.runner.preflight import Plan
from bench.runner.verify.identity import changed_fact, differences
from bench.runner.verify.results import Found
from bench.store.corrupted import CorruptionResult, CorruptionStore
from bench.store.recorded import recorded_corruption
from bench.store.records import RunRecord
from bench.store.run_directory import hash_of
from bench.suites.corruption_cells import CorruptionCell

_FACTS = ("weights", "architecture", "dataset")


@dataclass(frozen=True, slots=True, eq=False)
class CorruptedSubject:
    """A corruption cell that a run lists.

    Attributes:
        id: as listed.
        result: its record; ``None`` where there is none that can be read.
        cell: what it is judged as; ``None`` where nothing tells.
        planned: the same in the suite of ``run.json``; ``None`` where the suite has no such cell, or can't be had.
    """

    id: str
    result: CorruptionResult | None
    cell: CorruptionCell | None
    planned: PlannedCorruption | None


def identify_corrupted(
    record: RunRecord, plan: Plan | None, store: CorruptionStore, found: Found
) -> list[CorruptedSubject]:
    """Checks the identity of every listed corruption cell.

    Args:
        record: ``run.json``.
        plan: its suite with what lies here now; ``None`` where it can't be had.
        store: where the records are.
        found: gets the problems.

    Returns:
        The listed cells, each beside the suite's where there is one.
    """
    listed = list(record.corruption_cells)
    for cell in dict.fromkeys(one for place, one in enumerate(listed) if one in listed[:place]):
        found.add("identity", "run.json lists it twice", cell=cell)
    listed = list(dict.fromkeys(listed))
    if plan is None:
        return [_subject(cell, None, store, found) for cell in listed]
    by_hash = {hash_of(one.id): one for one in plan.corrupted.cells}
    shown = {hash_of(cell) for cell in listed}
    left = {_words(one.cell): one for one in plan.corrupted.cells if hash_of(one.id) not in shown}
    subjects = []
    for cell in listed:
        subject = _subject(cell, by_hash.get(hash_of(cell)), store, found)
        if subject.planned is None:
            subject = _changed(subject, left, found)
        subjects.append(subject)
    for one in left.values():
        what = f"run.json: its suite has the corruption cell {one.cell.label}, which isn't among its cells"
        found.add("identity", what)
    return subjects


def _subject(cell: str, planned: PlannedCorruption | None, store: CorruptionStore, found: Found) -> CorruptedSubject:
    result = _record(cell, store, found)
    known = planned.cell if planned is not None else None if result is None else recorded_corruption(result)
    if result is not None:
        _own(cell, result, found)
        if planned is not None:
            _renamed(cell, result, planned, found)
    return CorruptedSubject(cell, result, known, planned)


def _record(cell: str, store: CorruptionStore, found: Found) -> CorruptionResult | None:
    try:
        result = store.read_result(cell)
    except StoreError as error:
        found.add("unreadable", str(error).splitlines()[0], cell=cell)
        return None
    if result is None:
        found.add("missing", "no record of it under corruptions/: it isn't finished, and has no number", cell=cell)
        return None
    if hash_of(result.cell) != hash_of(cell):
        found.add("identity", f"corruptions/: it is the record of another cell, {result.cell}", cell=cell)
        return None
    return result


def _own(cell: str, result: CorruptionResult, found: Found) -> None:
    """Whether a record's fields give the id that it has."""
    facts, file = result.provenance.get("facts"), f"corruptions/{result.cell}.json"
    if not isinstance(facts, dict):
        found.add("identity", f"{file}: what its id is made of is gone", cell=cell)
        return
    for name in _FACTS:
        if result.provenance.get(name) not in (None, facts.get(name)):
            found.add("identity", f"{file}: provenance.{name} isn't that of the facts", cell=cell)
    given = recorded_corruption(result).id(facts)
    if hash_of(given) != hash_of(result.cell):
        what = f"{file}: its fields aren't those that its id was made of: they give the id {given}"
        found.add("identity", what, cell=cell)


def _renamed(cell: str, result: CorruptionResult, planned: PlannedCorruption, found: Found) -> None:
    """What isn't part of an id must be the suite's, too: names, paths, whose images these are."""
    here, there = _described(planned.cell), _described(recorded_corruption(result))
    here["published"], there["published"] = planned.cell.source.path is not None, result.published
    for path, now, then in differences(here, there):
        what = f"corruptions/{result.cell}.json: {path} is {then}, the suite in run.json has {now}"
        found.add("identity", what, cell=cell)
    located, entry = planned.located, result.provenance.get("published")
    if located is not None and entry != (list(located.published) if located.published else None):
        what = f"corruptions/{result.cell}.json: provenance.published is {entry}, the model here is {located.published}"
        found.add("identity", what, cell=cell)


def _changed(
    subject: CorruptedSubject, left: dict[tuple[str, str, str, int], PlannedCorruption], found: Found
) -> CorruptedSubject:
    """Tells why a listed cell isn't the suite's of the same name; it is judged by what lies here."""
    planned = None if subject.cell is None else left.pop(_words(subject.cell), None)
    if planned is None:
        found.add("identity", "run.json lists it, but its suite doesn't have it", cell=subject.id)
        return subject
    result = subject.result
    assert result is not None
    if not (planned.unavailable or planned.broken or result.status == "unavailable"):
        here, there = _described(planned.cell), _described(recorded_corruption(result))
        words = differences(here, there)
        for path, now, then in words:
            what = f"run.json: its suite has {path} {now}, the cell was run with {then}"
            found.add("identity", what, cell=subject.id)
        facts = differences(planned.facts, result.provenance.get("facts") or {})
        for path, now, then in facts:
            found.add("identity", changed_fact(path, then, now), cell=subject.id)
        if not words and not facts:
            found.add("identity", "not the cell that was run", cell=subject.id)
    return CorruptedSubject(subject.id, result, subject.cell, planned)


def _words(cell: CorruptionCell) -> tuple[str, str, str, int]:
    return cell.model.id, cell.defense_id, cell.corruption, cell.severity


def _described(cell: CorruptionCell) -> dict[str, Any]:  # Any: JSON values
    return {
        "dataset": cell.dataset.model_dump(mode="json"),
        "model": cell.model.model_dump(mode="json"),
        "defense": cell.defense.model_dump(mode="json"),
        "corruption": cell.corruption,
        "severity": cell.severity,
        "seed": cell.seed,
    }
