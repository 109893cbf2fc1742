"""Which cell of the joined suite has which id: what the runs say of it must be the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.errors import MergeError
from bench.runner.facts import UNAVAILABLE
from bench.runner.merge.sources import Key, Source, key_of
from bench.store.records import CellResult
from bench.store.run_directory import hash_of
from bench.suites.cells import Cell
from bench.suites.expand import Makers, expand
from bench.suites.families import next_smaller, running_order
from bench.suites.spec import Suite

_OF_THE_ATTACK = ("attack_revision", "attack_libraries", "chunk")
_WORDS = ("model", "defense", "attack", "threat_model")
_SMALLER = "smaller_eps"
_EXAMPLES = "examples"


class Missing(NamedTuple):
    """A cell of the joined suite that no run has."""

    id: str
    label: str


@dataclass(frozen=True, slots=True)
class Identified:
    """The cells of the joined run.

    Attributes:
        cells: by id, in the suite's order.
        missing: those that no run has.
        notes: what else a user must know.
    """

    cells: dict[str, Cell]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]


class _Candidate(NamedTuple):
    """A run's id of a cell."""

    id: str
    source: Source
    result: CellResult | None
    empty: bool
    """whether there is no row, and no number"""


def identify(suite: Suite, sources: Sequence[Source]) -> Identified:
    """Gives every cell of the joined suite its id.

    Args:
        suite: the joined one.
        sources: the runs.

    Raises:
        MergeError: where runs mean different cells by the same words, or the same cell by different words.
    """
    cells = expand(suite)
    makers = Makers(cells)
    smaller = [None] * len(cells) if suite.run.reuse == "none" else next_smaller(cells)
    ids: dict[int, str] = {}
    notes: list[str] = []
    known = list(_known(sources))
    absent: set[int] = set()
    problems: list[str] = []
    for place in running_order(cells):
        cell, below = cells[place], smaller[place]
        parent = "" if below is None else hash_of(ids[below])
        found = _candidates(cell, sources)
        if found:
            chosen = _chosen(cell, found, parent, notes, problems)
            ids[place] = f"{cell.slug}-{hash_of(chosen)}"
        else:
            absent.add(place)
            made = hash_of(ids[cells.index(makers.of(cell))]) if cell.role == "transfer" else ""
            ids[place] = cell.id(_composed(cell, known, parent, made))
    _twins(cells, ids, problems)
    if problems:
        raise MergeError("not the same cells: " + "\n".join(dict.fromkeys(problems)))
    places = range(len(cells))
    return Identified(
        {ids[place]: cells[place] for place in places},
        tuple(Missing(ids[place], cells[place].label) for place in places if place in absent),
        tuple(dict.fromkeys(notes)),
    )


def _candidates(cell: Cell, sources: Sequence[Source]) -> list[_Candidate]:
    key, found = key_of(cell), list[_Candidate]()
    for source in sources:
        listed = source.cells.get(key)
        if listed is not None:
            result = source.result(listed)
            done = result is not None and result.status == "done"
            found.append(_Candidate(listed, source, result, not done and not source.directory.sample_parts(listed)))
    return found


def _chosen(cell: Cell, found: list[_Candidate], parent: str, notes: list[str], problems: list[str]) -> str:
    """The one id that is meant; problems where there is more than one."""
    by_hash: dict[str, _Candidate] = {}
    for one in found:
        by_hash.setdefault(hash_of(one.id), one)
    if len(by_hash) > 1:  # a model that couldn't be had, or a cell that never began, has another id and says nothing
        telling = {name: one for name, one in by_hash.items() if not one.empty}
        by_hash = telling or {hash_of(found[0].id): found[0]}
    if len(by_hash) > 1 and all(not _differences(one, found[0], without=_SMALLER) for one in by_hash.values()):
        built = [one for one in by_hash.values() if one.result and _facts(one.result).get(_SMALLER, "") == parent]
        done = [one for one in by_hash.values() if one.result and one.result.status == "done"]
        kept = (*built, *done, *by_hash.values())[0]
        notes.append(f"{cell.label}: {kept.source.name} counts; others built on another smaller eps, and aren't shown")
        return kept.id
    first, *others = by_hash.values()
    for other in others:
        differing = _differences(first, other) or [
            "another version of an attack, a defense or a library, which no record names"
        ]
        problems.append(f"{cell.label}: {first.source.name} and {other.source.name} differ: {'; '.join(differing)}")
    return first.id


def _facts(result: CellResult) -> dict[str, Any]:  # Any: JSON values
    facts = result.provenance.get("facts")
    return facts if isinstance(facts, dict) else {}


def _differences(one: _Candidate, other: _Candidate, *, without: str = "") -> list[str]:
    """What the records of two cells say otherwise of each other."""
    if one.result is None or other.result is None:
        return [] if one.id == other.id else ["one of them has no record"]
    here, there = ({**_words(result), **_facts(result)} for result in (one.result, other.result))
    keys = [key for key in dict.fromkeys((*here, *there)) if key != without]
    return [text for key in keys for text in told(key, here.get(key), there.get(key))]


def _words(result: CellResult) -> dict[str, Any]:  # Any: JSON values
    paths = {"weights", "directory", "clean_accuracy", "sha256", "time_limit", "id"}
    words = {name: getattr(result, name).model_dump(mode="json", exclude=paths) for name in _WORDS}
    return {**words, "precision": result.provenance.get("precision", "")}


def told(key: str, here: object, there: object) -> Iterator[str]:
    """What differs between two values, by key; digests are cut."""
    if here == there:
        return
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for inner in dict.fromkeys((*here, *there)):
            yield from told(f"{key}.{inner}", here.get(inner), there.get(inner))
        return
    yield f"{key} {_short(here)} and {_short(there)}"


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def _twins(cells: Sequence[Cell], ids: Mapping[int, str], problems: list[str]) -> None:
    """The same cell under two names would be two rows of one thing."""
    first: dict[str, Cell] = {}
    for place, cell in enumerate(cells):
        other = first.setdefault(hash_of(ids[place]), cell)
        if other is not cell:
            pairs = zip(Key._fields, key_of(other), key_of(cell), strict=True)
            named = [
                f"the {name} {one} is the {name} {two}" for name, one, two in pairs if one != two and name != "label"
            ]
            problems.append(
                f"{', '.join(named)} of another run, under another name: give it the same id in both suites"
            )


def _known(sources: Sequence[Source]) -> Iterator[tuple[Key, dict[str, Any]]]:  # Any: JSON values
    """What the ids of all cells that have a record are made of."""
    for source in sources:
        for key, listed in source.cells.items():
            result = source.result(listed)
            facts = {} if result is None else _facts(result)
            if facts and not str(facts.get("weights", "")).startswith(UNAVAILABLE):
                yield key, facts


def _composed(
    cell: Cell, known: Sequence[tuple[Key, dict[str, Any]]], parent: str, made: str
) -> dict[str, Any]:  # Any: JSON values
    """What the id of a cell that no run has is made of: its row's part from one cell, its attack's from another.

    Where no run tells, the id is a stand-in: running the suite gives the cell its own.
    """
    key = key_of(cell)
    row = next((facts for other, facts in known if other[1:4] == key[1:4]), None)
    kind = cell.role == "certificate"
    attack = next(
        (
            facts
            for other, facts in known
            if (other.attack, other.norm) == (key.attack, key.norm) and (other.role == "certificate") == kind
        ),
        None,
    )
    if row is None or attack is None:
        return {"unknown": list(key)}
    facts = {name: value for name, value in row.items() if name not in (*_OF_THE_ATTACK, _SMALLER, _EXAMPLES)}
    facts |= {name: attack[name] for name in _OF_THE_ATTACK if name in attack}
    facts["plugins"] = sorted({*row.get("plugins", ()), *attack.get("plugins", ())})
    facts |= {_EXAMPLES: made} if made else {}
    return {**facts, _SMALLER: parent} if parent and "chunk" not in facts else facts
