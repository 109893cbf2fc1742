"""The tables of the leaderboard as the page shows them: texts, what they are sorted by, and the marks beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.leaderboard.audited import audit_line
from bench.leaderboard.grid import Grid, Words, breakers, heading, percent, restorations
from bench.leaderboard.records import CorruptionRow, Leaderboard, Note, Row, Score, Table
from bench.store.records import Estimate

DASH = "–"
STATUS = {"error": "error", "unavailable": "n/a", "partial": "partial", "missing": "missing"}
PLAIN = Words()


@dataclass(frozen=True, slots=True)
class Shown:
    """One cell of a table.

    Attributes:
        text: the number or the word.
        sort: what it is sorted by; ``None`` goes to the end.
        interval: the 95 % interval.
        seeds: the range over several seeds.
        marks: numbers of the notes beside it.
        best: whether it is printed in bold.
        word: whether it is a word in place of a number.
    """

    text: str
    sort: float | str | None = None
    interval: str = ""
    seeds: str = ""
    marks: tuple[int, ...] = ()
    best: bool = False
    word: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """Head of a column: its text, and whether numbers stand below it."""

    text: str
    number: bool = True
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One row: of whom it speaks, and its cells."""

    id: str
    label: str
    defense: str
    cells: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One table with what stands above and below it."""

    id: str
    title: str
    heading: str
    heads: tuple[Head, ...]
    lines: tuple[Line, ...]
    notes: tuple[Note, ...]
    audit: str
    breakers: Grid | None
    restored: Grid | None


def boards(leaderboard: Leaderboard) -> list[Board]:
    """The tables of all threat models."""
    return [_board(leaderboard, place, table) for place, table in enumerate(leaderboard.tables)]


def label(row: Row | CorruptionRow) -> str:
    """For people: the model, and the defense where there is one."""
    return row.model if row.defense == "none" else f"{row.model} + {row.defense}"


def _board(leaderboard: Leaderboard, place: int, table: Table) -> Board:
    columns = _columns(table)
    return Board(
        id=f"table-{place}",
        title=table.threat_model,
        heading=heading(leaderboard, table).removeprefix(f"{table.threat_model} · "),
        heads=tuple(head for head, _ in columns),
        lines=tuple(
            Line(f"row-{place}-{number}", label(row), row.defense, tuple(cell(row) for _, cell in columns))
            for number, row in enumerate(table.rows)
        ),
        notes=table.notes,
        audit=audit_line(leaderboard, table).replace("`", ""),
        breakers=breakers(table, PLAIN),
        restored=restorations(table, PLAIN),
    )


def _columns(table: Table) -> list[tuple[Head, Callable[[Row], Shown]]]:
    rows = table.rows
    found: list[tuple[Head, Callable[[Row], Shown]]] = [
        (Head("rank", hint="the range that paired tests leave"), _rank),
        (Head("model", number=False), lambda row: Shown(row.model, row.model.lower())),
        (
            Head("defense", number=False),
            lambda row: Shown(row.defense, row.defense.lower(), word=row.defense == "none"),
        ),
        (Head("clean"), lambda row: number(row.clean)),
    ]
    found += [(Head(attack), partial(_attack, attack)) for attack in table.attacks]
    if any(row.gradient_free for row in rows):
        found.append((Head("gradient-free"), lambda row: score(row.gradient_free)))
    if any(row.naive for row in rows):
        found.append((Head("naive"), lambda row: score(row.naive)))
    if any(row.oblivious for row in rows):
        found.append((Head("oblivious"), lambda row: score(row.oblivious)))
    if any(row.certified for row in rows):
        found.append((Head("certified", hint="a lower bound"), lambda row: number(row.certified, prefix="≥ ")))
    found.append((Head("worst case", hint="an upper bound"), worst))
    if any(row.published for row in rows):
        found.append((Head("published", hint="clean / robust, by RobustBench"), _published))
        found.append((Head("difference", hint="in points"), _difference))
    return found


def number(estimate: Estimate | None, *, prefix: str = "", marks: Sequence[int] = (), best: bool = False) -> Shown:
    """A share in % with its interval."""
    if estimate is None or estimate.value is None:
        return Shown(DASH, marks=tuple(marks), word=True)
    return Shown(prefix + percent(estimate.value), estimate.value, interval(estimate), marks=tuple(marks), best=best)


def interval(estimate: Estimate) -> str:
    """``40.2–46.3``; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{percent(estimate.low)}{DASH}{percent(estimate.high)}"


def score(found: Score | None) -> Shown:
    """What one attack left; a word where it left no number."""
    if found is None:
        return Shown(DASH, word=True)
    if found.status != "done":
        return Shown(STATUS[found.status], marks=found.notes, word=True)
    shown = number(found.robust, prefix="≤ " if found.bound else "", marks=found.notes)
    if len(found.seeds) < 2:
        return shown
    low, high = min(found.seeds.values()), max(found.seeds.values())
    return Shown(shown.text, shown.sort, shown.interval, f"[{percent(low)}{DASH}{percent(high)}]", shown.marks)


def worst(row: Row) -> Shown:
    """The row's number, or the bound that is all that is known."""
    return number(row.worst, prefix="" if row.complete else "≤ ", marks=row.notes, best=row.best)


def _attack(attack: str, row: Row) -> Shown:
    return score(row.attacks.get(attack))


def _rank(row: Row) -> Shown:
    if row.rank is None:
        return Shown(DASH, word=True)
    low, high = row.rank
    return Shown(str(low) if low == high else f"{low}{DASH}{high}", low + high / 1e6, best=row.best)


def _published(row: Row) -> Shown:
    if row.published is None:
        return Shown(DASH, word=True)
    return Shown(f"{100 * row.published.clean:.2f} / {100 * row.published.robust:.2f}", row.published.robust)


def _difference(row: Row) -> Shown:
    if row.published is None or row.published.difference is None:
        return Shown(DASH, word=True)
    # "+ 0.0" turns the -0.0 that rounding leaves into 0.0.
    return Shown(f"{round(100 * row.published.difference, 1) + 0.0:+.1f}".replace("-", "−"), row.published.difference)
