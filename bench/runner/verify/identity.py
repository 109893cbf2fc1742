"""Whether the cells of a run are what they say: what each id is made of, what ``run.json`` asks for, and what lies here now.

A cell's id is the hash of its words (threat model, attack, defense, seed, ...) and of facts (digests of weights, code and
images, revisions, versions). Three things must agree: the record in ``cells/``, the suite in ``run.json`` with what lies here
now, and the ids that ``run.json`` lists. Where they don't, the two that agree say which one was changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.runner.preflight import Plan, PlannedCell
from bench.runner.submitted import NAME, rows_of, submitted_cell, submitted_id
from bench.runner.unchanged import as_shown
from bench.runner.verify.results import Found
from bench.store.recorded import recorded_cell
from bench.store.records import CellResult, RunRecord
from bench.store.run_directory import hash_of
from bench.suites.cells import Cell, digest

_FACTS = {
    "weights": "the weights had the digest {}, here it is {}",
    "architecture": "the architecture's code had the digest {}, here it is {}",
    "dataset": "the dataset had the digest {}, here it is {}",
    "calibration": "the calibration images had the digest {}, here it is {}",
    "plugins": "the plugins had the digests {}, here they are {}",
    "attack_revision": "the attack had revision {}, here it is {}",
    "defense_revision": "the defense had revision {}, here it is {}",
    "defense_files": "the defense's files had the digests {}, here they are {}",
    "defense_members": "the defense's members had the digests {}, here they are {}",
    "chunk": "the library's chunks had {} samples, here they have {}",
    "smaller_eps": "it builds on the smaller eps {}, here on {}",
    "examples": "it judged the examples of the cell {}, here they are those of {}",
}
_NEAR = 4
"""Cells that differ in more words than this aren't taken for each other."""


@dataclass(eq=False)
class Subject:
    """A cell that a run lists.

    Attributes:
        id: as listed.
        result: its record; ``None`` where there is none that can be read.
        cell: what it is judged as; ``None`` where nothing tells.
        planned: the same in the suite of ``run.json``, with what lies here now; ``None`` where the suite has no such cell.
        keep: which examples it keeps.
        blocked: why no model can judge it here; empty where one can.
    """

    id: str
    result: CellResult | None
    cell: Cell | None = None
    planned: PlannedCell | None = None
    keep: str = "successes"
    blocked: str = ""


def identify(
    record: RunRecord | None, plan: Plan | None, results: Mapping[str, CellResult | None], found: Found
) -> list[Subject]:
    """Checks the identity of every listed cell.

    Args:
        record: ``run.json``; ``None`` where it can't be read.
        plan: its suite with what lies here now; ``None`` where it can't be had.
        results: the record of each listed cell, in the order of the list.
        found: gets the problems.

    Returns:
        The listed cells.
    """
    precision = "auto" if record is None else record.suite.run.precision
    subjects = [Subject(cell, result) for cell, result in results.items()]
    for subject in subjects:
        if subject.result is not None:
            subject.cell = recorded_cell(subject.result, precision)
            subject.keep = _kept(subject.cell, record)
    if plan is not None:
        _matched(plan, subjects, found)
    for subject in subjects:
        _own(subject, found)
    return subjects


def _kept(cell: Cell, record: RunRecord | None) -> str:
    """What a cell of a record keeps that no suite tells of."""
    if cell.transferred or cell.role == "certificate":
        return "none"
    if cell.role == "prerequisite":
        return "all"
    return "successes" if record is None or cell.role == "submitted" else record.suite.run.save_adversarial


def _own(subject: Subject, found: Found) -> None:
    """Whether a record's fields give the id that it has."""
    result = subject.result
    if result is None or "facts" not in result.provenance:
        return
    facts, file = result.provenance["facts"], f"cells/{result.cell}.json"
    if not isinstance(facts, dict) or (result.role == "submitted" and "digest" not in result.attack.args):
        found.add("identity", f"{file}: what its id is made of is gone", cell=subject.id)
        return
    for name in ("weights", "architecture", "dataset"):
        if result.provenance.get(name) not in (None, facts.get(name)):
            found.add("identity", f"{file}: provenance.{name} isn't that of the facts", cell=subject.id)
    cell = recorded_cell(result, "")
    given = submitted_id(cell, facts) if result.role == "submitted" else cell.id(facts)
    if given == result.cell:
        return
    if hash_of(given) == hash_of(result.cell):
        found.add("identity", f"{file}: its fields give the name {given}", cell=subject.id)
        return
    reasons = [] if subject.planned is None else list(_reasons(subject.planned, result))
    why = ", ".join(reasons) or f"they give the id {given}"
    found.add("identity", f"{file}: its fields aren't those that its id was made of: {why}", cell=subject.id)


def _reasons(planned: PlannedCell, result: CellResult) -> Iterator[str]:
    """What a record says otherwise than the cell that has its id."""
    words = differences(_words(planned.cell), _words(recorded_cell(result, planned.cell.precision)))
    yield from (f"{path} is {there}, the id was made with {here}" for path, here, there in words)
    facts = result.provenance.get("facts")
    if isinstance(facts, dict):
        then = differences(planned.made_of, facts)
        yield from (f"facts.{path} is {there}, the id was made with {here}" for path, here, there in then)


def _matched(plan: Plan, subjects: list[Subject], found: Found) -> None:
    """Finds each listed cell in the suite as it is now; the suite must have exactly those that are listed."""
    shown = {hash_of(subject.id) for subject in subjects}
    known: dict[str, PlannedCell | None] = {}
    actual = {one.id: as_shown(one, shown, known) for one in plan.cells}
    by_hash = {hash_of(one.id): one for one in actual.values() if one is not None}
    left = [one for one in plan.cells if actual[one.id] is None]
    for subject in subjects:
        if _submitted(subject):
            _submission(plan, subject, found)
        elif (planned := by_hash.get(hash_of(subject.id))) is not None:
            _take(subject, planned)
            _renamed(subject, planned, found)
    strange = [one for one in subjects if one.planned is None and not _submitted(one)]
    for subject, planned in _paired(strange, left):
        _changed(subject, planned, found)
        left = [one for one in left if one is not planned]
        strange = [one for one in strange if one is not subject]
    for planned in left:
        found.add("identity", f"run.json: its suite has the cell {planned.cell.label}, which isn't among its cells")
    for subject in strange:
        found.add("identity", "run.json lists it, but its suite doesn't have it", cell=subject.id)


def _submitted(subject: Subject) -> bool:
    if subject.result is None:
        return subject.id.startswith(f"{NAME}-")
    return subject.result.role == "submitted"


def _take(subject: Subject, planned: PlannedCell) -> None:
    """The suite says what a cell is judged as, since the id that is listed follows from it."""
    subject.planned, subject.cell, subject.keep = planned, planned.cell, planned.keep
    subject.blocked = planned.unavailable or planned.broken
    if planned.cell.role == "certificate":
        subject.keep = "none"


def _renamed(subject: Subject, planned: PlannedCell, found: Found) -> None:
    """What isn't part of an id must be the suite's, too: names, paths, declared accuracies."""
    result = subject.result
    if result is None:
        return
    own = result.provenance.get("facts")
    if isinstance(own, dict) and hash_of(recorded_cell(result, "").id(own)) != hash_of(result.cell):
        return  # told with the id
    for path, here, there in differences(_words(planned.cell), _words(recorded_cell(result, planned.cell.precision))):
        message = f"cells/{result.cell}.json: {path} is {there}, the suite in run.json has {here}"
        found.add("identity", message, cell=subject.id)
    located, told = planned.located, result.provenance.get("published")
    if located is not None and told != (list(located.published) if located.published else None):
        what = f"cells/{result.cell}.json: provenance.published is {told}, the model here is {located.published}"
        found.add("identity", what, cell=subject.id)


def _submission(plan: Plan, subject: Subject, found: Found) -> None:
    """Finds the row that a submission was made against."""
    result = subject.result
    if result is None or "digest" not in result.attack.args:
        return
    row = rows_of(plan).get((result.model.id, result.defense_id, result.threat_model))
    if row is None:
        found.add("identity", "run.json lists it, but its suite has no such row", cell=subject.id)
        return
    planned = submitted_cell(plan, row, result.attack, result.seed)
    if hash_of(planned.id) == hash_of(subject.id):
        _take(subject, planned)
    else:
        _changed(subject, planned, found)


def _changed(subject: Subject, planned: PlannedCell, found: Found) -> None:
    """Tells why a listed cell and the suite's aren't the same; it is judged as recorded, by what lies here."""
    result = subject.result
    assert result is not None
    subject.blocked = planned.unavailable or planned.broken
    words = differences(_words(planned.cell), _words(recorded_cell(result, planned.cell.precision)))
    for path, here, there in words:
        found.add("identity", f"run.json: its suite has {path} {here}, the cell was run with {there}", cell=subject.id)
    if subject.blocked or result.status == "unavailable":  # what isn't here, or wasn't then, has no digests
        return
    facts = result.provenance.get("facts")
    known = ("weights", "architecture", "dataset")  # of what older records tell
    then = facts if isinstance(facts, dict) else {name: result.provenance.get(name) for name in known}
    now = planned.made_of if isinstance(facts, dict) else {name: planned.facts.get(name) for name in known}
    differing = differences(now, then)
    others = [one for one in differing if one[0] != "smaller_eps"] or differing
    for path, here, there in others:
        found.add("identity", changed_fact(path, there, here), cell=subject.id)
    if not words and not others:
        found.add(
            "identity",
            "not the cell that was run: an attack, a defense or a library has another version",
            cell=subject.id,
        )


def changed_fact(path: str, then: str, now: str) -> str:
    """A fact that was another."""
    name, _, rest = path.partition(".")
    if name in ("attack_libraries", "defense_libraries"):
        return f"{rest} had version {then}, here it is {now}"
    known = _FACTS.get(name, f"{path} was {{}}, here it is {{}}")
    return known.format(then, now)


def _paired(subjects: Sequence[Subject], planned: Sequence[PlannedCell]) -> list[tuple[Subject, PlannedCell]]:
    """Which listed cell is which of the suite's that isn't listed: the one that differs in the fewest words."""
    distances = sorted(
        (
            (
                len(differences(_words(one.cell), _words(recorded_cell(subject.result, one.cell.precision)))),
                place,
                other,
            )
            for place, subject in enumerate(subjects)
            if subject.result is not None
            for other, one in enumerate(planned)
            if one.cell.role == subject.result.role
        )
    )
    pairs: list[tuple[Subject, PlannedCell]] = []
    taken: set[tuple[str, int]] = set()
    for distance, place, other in distances:
        if distance <= _NEAR and ("listed", place) not in taken and ("suite", other) not in taken:
            taken |= {("listed", place), ("suite", other)}
            pairs.append((subjects[place], planned[other]))
    return pairs


def _words(cell: Cell) -> dict[str, Any]:  # Any: JSON values
    """All that a cell says, without what its role changes."""
    return {
        "role": cell.role,
        "dataset": cell.dataset.model_dump(mode="json"),
        "model": cell.model.model_dump(mode="json"),
        "defense": cell.defense.model_dump(mode="json"),
        "threat_model": cell.threat_model.model_dump(mode="json"),
        "attack": cell.attack.model_dump(mode="json"),
        "adversary": cell.adversary,
        "source": None if cell.source is None else cell.source.model_dump(mode="json"),
        "seed": cell.seed,
        "search": cell.search,
        "precision": cell.precision,
    }


def differences(here: Any, there: Any, path: str = "") -> list[tuple[str, str, str]]:  # Any: JSON values
    """Path, value here and value there of all that differs, digests cut."""
    if isinstance(here, dict) and isinstance(there, dict):
        inner = [
            differences(here.get(key), there.get(key), f"{path}.{key}" if path else str(key))
            for key in dict.fromkeys((*here, *there))
        ]
        return [one for some in inner for one in some]
    if digest(here) == digest(there):
        return []
    return [(path, _shown(here), _shown(there))]


def _shown(value: object) -> str:
    """A value in a message; digests are cut."""
    if isinstance(value, str):
        return value[:12] if len(value) == 64 else value
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return str(value)
