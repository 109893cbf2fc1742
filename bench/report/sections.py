"""What the page says of each (model, defense): numbers by attack and radius, costs, flags, advice, classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.leaderboard.adversaries import attacker
from bench.leaderboard.explain import cell_explained, unranked
from bench.leaderboard.explanation import CellExplained, Suggestion
from bench.leaderboard.records import Leaderboard, Note, Row, Table
from bench.leaderboard.stronger import suggestions
from bench.report.classes import Classes, IntArray, by_class
from bench.report.tables import DASH, STATUS, Shown, label, number, score, worst
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.records import Cost

_ROLES = {"gradient_free": "gradient-free", "prerequisite": "examples", "suite": ""}
_PLACE = "RUN"
"""How suggested commands name the run's directory."""


@dataclass(frozen=True, slots=True)
class CellLine:
    """One cell: what it did, what it left and what it cost."""

    threat_model: str
    attack: str
    how: str
    status: str
    reason: str
    left: Shown
    broken: str
    alone: str
    passes: str
    seconds: str
    speed: str
    memory: str


@dataclass(frozen=True, slots=True)
class Said:
    """A note, under which threat model it stands, and where."""

    threat_model: str
    anchor: str
    note: Note


@dataclass(frozen=True, slots=True)
class Advice:
    """What would make the numbers stronger, and those of which threat models where it isn't all."""

    balls: str
    text: str
    do: str


@dataclass(frozen=True, slots=True)
class Section:
    """One (model, defense) under all threat models."""

    id: str
    label: str
    attacker: str
    clean: Shown
    balls: tuple[str, ...]
    worst: tuple[Shown, ...]
    series: tuple[tuple[str, tuple[Shown, ...]], ...]
    cells: tuple[CellLine, ...]
    seconds: str
    notes: tuple[Said, ...]
    unranked: tuple[tuple[str, str], ...]
    stronger: tuple[Advice, ...]
    classes: Classes | None


@dataclass(frozen=True, slots=True)
class _Place:
    """A row as its table shows it, and its records."""

    number: int
    table: Table
    row: Row
    outcome: RowOutcome


def row_outcomes(outcome: RunOutcome, table: Table) -> list[RowOutcome]:
    """The records of a table's rows, in its order."""
    found = {
        (row.model, row.defense): row
        for row in outcome.rows
        if (row.threat_model.norm, str(row.threat_model.eps)) == (table.norm, table.eps)
    }
    return [found[row.model, row.defense] for row in table.rows]


def sections(outcome: RunOutcome, board: Leaderboard, labels: IntArray | None) -> list[Section]:
    """One section per (model, defense), in the order of the first table that has it.

    Args:
        outcome: the records.
        board: the leaderboard.
        labels: of each sample; ``None`` where there are none.
    """
    places: dict[str, list[_Place]] = {}
    for at, table in enumerate(board.tables):
        for row, own in zip(table.rows, row_outcomes(outcome, table), strict=True):
            places.setdefault(label(row), []).append(_Place(at, table, row, own))
    names = outcome.record.dataset.get("class_names") or ()
    return [
        _section(outcome, board, f"about-{number}", mine, labels, names) for number, mine in enumerate(places.values())
    ]


def _section(
    outcome: RunOutcome,
    board: Leaderboard,
    anchor: str,
    places: Sequence[_Place],
    labels: IntArray | None,
    names: Sequence[object],
) -> Section:
    first = places[0]
    knowing = [cell.result for place in places for cell in place.outcome.of("suite") if cell.result is not None]
    return Section(
        id=anchor,
        label=label(first.row),
        attacker="" if first.outcome.bare or not knowing else attacker(knowing[0].defense),
        clean=number(first.row.clean),
        balls=tuple(place.table.threat_model for place in places),
        worst=tuple(_unmarked(worst(place.row)) for place in places),
        series=tuple(_series(places)),
        cells=tuple(_line(place, cell) for place in places for cell in _cells(place.outcome)),
        seconds=f"{sum(place.row.seconds for place in places):,.1f}",
        notes=tuple(
            Said(place.table.threat_model, f"table-{place.number}-note-{note.number}", note)
            for place in places
            for note in place.table.notes
            if note.number in place.row.notes
        ),
        unranked=tuple(
            (place.table.threat_model, reason)
            for place in places
            if not place.row.complete
            for reason in unranked(outcome, place.outcome)
        ),
        stronger=tuple(_advice(outcome, places)),
        classes=by_class([place.outcome for place in places], labels, names),
    )


def _advice(outcome: RunOutcome, places: Sequence[_Place]) -> Iterator[Advice]:
    """What is suggested under several threat models is said once, in the words and numbers of the last."""
    found: dict[str, list[tuple[str, Suggestion]]] = {}
    for place in places:
        for one in suggestions(outcome, place.outcome, place.row, _PLACE):
            found.setdefault(one.text.partition(":")[0], []).append((place.table.threat_model, one))
    for told in found.values():
        balls = list(dict.fromkeys(ball for ball, _ in told))
        last = told[-1][1]
        yield Advice("" if len(balls) == len(places) else ", ".join(balls), last.text, last.do)


def _unmarked(shown: Shown) -> Shown:
    """Without marks: they lead to the notes of one table, and stand there."""
    return Shown(shown.text, shown.sort, shown.interval, shown.seeds, word=shown.word)


def _series(places: Sequence[_Place]) -> Iterator[tuple[str, tuple[Shown, ...]]]:
    """Robust accuracy by attack, under each threat model."""
    attacks = dict.fromkeys(attack for place in places for attack in place.table.attacks if attack in place.row.attacks)
    rows = [place.row for place in places]
    for attack in attacks:
        yield attack, tuple(_unmarked(score(row.attacks.get(attack))) for row in rows)
    others = {
        "gradient-free": [row.gradient_free for row in rows],
        "naive": [row.naive for row in rows],
        "oblivious": [row.oblivious for row in rows],
    }
    for name, scores in others.items():
        if any(scores):
            yield name, tuple(_unmarked(score(one)) for one in scores)
    if any(row.certified for row in rows):
        yield "certified", tuple(number(row.certified, prefix="≥ ") for row in rows)
    yield "worst case", tuple(_unmarked(worst(row)) for row in rows)


def _cells(row: RowOutcome) -> Iterator[tuple[CellExplained, Cost | None]]:
    for cell in row.cells:
        yield cell_explained(row, cell), None if cell.result is None else cell.result.cost


def _line(place: _Place, told: tuple[CellExplained, Cost | None]) -> CellLine:
    cell, cost = told
    role = _ROLES.get(cell.role, cell.role)
    done = cell.status == "done"
    attacks = cell.role != "certificate"
    prefix = "≥ " if not attacks else "≤ " if cell.left is not None and cell.left.low is None else ""
    return CellLine(
        threat_model=place.table.threat_model,
        attack=f"{cell.attack} ({role})" if role and role != cell.attack else cell.attack,
        how=", ".join(_how(cell)),
        status="" if done else STATUS[cell.status],
        reason=cell.reason,
        left=number(cell.left, prefix=prefix) if done else Shown(STATUS[cell.status], word=True),
        broken=f"{cell.broken:,}" if attacks else DASH,
        alone=f"{cell.alone:,}" if attacks else DASH,
        passes=f"{cell.forwards or 0:,.1f} / {cell.backwards or 0:,.1f}"
        if done and cell.forwards is not None
        else DASH,
        seconds=DASH if cost is None else f"{cost.seconds:,.1f}",
        speed=DASH if cost is None or cost.images_per_second is None else f"{cost.images_per_second:,.1f}",
        memory=DASH if cost is None or cost.peak_memory is None else f"{cost.peak_memory / 2**20:,.0f}",
    )


def _how(cell: CellExplained) -> Iterator[str]:
    if cell.gradient and cell.role != "suite":
        yield cell.gradient
    elif cell.gradient and cell.gradient != "exact gradient":
        yield f"gradient: {cell.gradient}"
    yield from (f"{name} {value}" for name, value in cell.args.items())
    if cell.backend not in (None, "bench"):
        yield f"from {cell.backend}"
    if cell.search and cell.role not in ("submitted", "certificate"):
        yield f"search {cell.search.replace('_', ' ')}"
        yield f"seed {cell.seed}"
    yield from ([cell.precision] if cell.precision else [])
    if cell.reused:
        yield f"{cell.reused:,} taken over from a smaller eps"
    if cell.stages:
        yield "stages: " + "; ".join(f"{stage.name} {stage.broken:,} of {stage.attacked:,}" for stage in cell.stages)
