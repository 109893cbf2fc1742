"""The columns of a paper's tables: their names for ``--columns``, their heads, and what stands in them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.errors import BenchError, UnknownNameError
from bench.leaderboard.grid import percent
from bench.leaderboard.paper.texts import escape, stacked
from bench.leaderboard.records import Row, Score, Table
from bench.metrics import estimates
from bench.store import published
from bench.store.cell_outcome import least_correct
from bench.store.outcomes import RowOutcome
from bench.store.records import Estimate

_STATUS = {"error": "error", "unavailable": "n/a", "partial": "partial", "missing": "missing"}
DASH = "--"
WORST = "worst-case"
NAMES = ("model", "defense", "architecture", "venue")
"""Columns of names, to the left."""


class Entry(NamedTuple):
    """What stands in one place of a table, in LaTeX: a number, its interval below it, and the marks beside it."""

    number: str
    interval: str = ""
    marks: tuple[int, ...] = ()
    """numbers of notes"""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One row: as in the leaderboard, with its cells."""

    row: Row
    outcome: RowOutcome
    model: str
    """in LaTeX, with its citation"""
    defense: str
    top: bool
    """whether no ranked row's worst case is higher"""


class Column(NamedTuple):
    """One column."""

    name: str
    head: str
    """in LaTeX"""
    entry: Callable[[Line], Entry]

    @property
    def left(self) -> bool:
        """Whether it holds names."""
        return self.name in NAMES


def columns(table: Table, lines: Sequence[Line], attacks: Mapping[str, str]) -> dict[str, Column]:
    """Every column that this table can have, by its name for ``--columns``.

    Args:
        table: as in the leaderboard.
        lines: its rows.
        attacks: by id, the literature's spelling.
    """
    rows = [line.row for line in lines]
    found = [
        Column("rank", "Rank", lambda line: Entry(_rank(line.row))),
        Column("model", "Model", lambda line: Entry(line.model)),
        Column("defense", "Defense", lambda line: Entry(line.defense)),
        Column("clean", "Clean", lambda line: _estimated(line.row.clean)),
        *(_attack(attack, attacks.get(attack, attack)) for attack in table.attacks),
    ]
    others: tuple[tuple[str, str, Callable[[Line], Score | None]], ...] = (
        ("gradient-free", "Gradient-free", lambda line: line.row.gradient_free),
        ("naive", "Naive", lambda line: line.row.naive),
        ("oblivious", "Oblivious", lambda line: line.row.oblivious),
    )
    for name, head, score in others:
        if any(score(line) for line in lines):
            found.append(Column(name, head, lambda line, score=score: _scored(score(line))))  # type: ignore[misc]
    if any(line.outcome.of("suite") for line in lines):
        found.append(Column("adaptive", "Adaptive", _adaptive))
    if any(row.certified for row in rows):
        found.append(Column("certified", "Certified", _certified))
    found.append(Column(WORST, "Worst case", _worst))
    if any(row.published for row in rows):
        found += [
            Column("published", "Published", lambda line: Entry(_published(line.row))),
            Column("difference", "Difference", lambda line: Entry(_difference(line.row))),
            Column("architecture", "Architecture", lambda line: Entry(_fact(line.outcome, "architecture"))),
            Column("venue", "Venue", lambda line: Entry(_fact(line.outcome, "venue"))),
        ]
    return {column.name: column for column in found}


def chosen(known: Mapping[str, Column], names: Iterable[str], everywhere: Iterable[str]) -> list[Column]:
    """The columns that ``--columns`` names.

    Args:
        known: those of this table.
        names: as the user wrote them; case, blanks and underscores don't matter, nor does ``worst`` for ``worst-case``.
        everywhere: the names of all tables: one that only another table has is left out here.

    Raises:
        UnknownNameError: for a name that no table has; it names those that are accepted.
    """
    accepted = list(dict.fromkeys(everywhere))
    plain = {_plain(name): name for name in accepted} | {"worst": WORST, "aa": "autoattack"}
    found: list[Column] = []
    for written in names:
        name = plain.get(_plain(written), "")
        if name not in accepted:
            near = difflib.get_close_matches(_plain(written), list(plain), n=2)
            raise UnknownNameError("column", written, [plain[one] for one in near if plain[one] in accepted], accepted)
        if name in known and all(column.name != name for column in found):
            found.append(known[name])
    return found


def tell_apart(lines: Sequence[Line], shown: Sequence[Column]) -> None:
    """Sees to it that no two rows of a table have the same name.

    Raises:
        BenchError: where they would, with the columns that are needed.
    """
    names = [column.name for column in shown]
    needed = [name for name in ("model", "defense") if len({getattr(line.row, name) for line in lines}) > 1]
    lacking = [name for name in needed if name not in names]
    seen = {tuple(getattr(line.row, name) for name in needed if name in names) for line in lines}
    if lacking and len(seen) < len(lines):
        raise BenchError(
            f"--columns {','.join(names)}: rows of the table can't be told apart (accepted: with {' and '.join(lacking)})"
        )


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "-").replace("_", "-")


def _attack(attack: str, spelled: str) -> Column:
    return Column(attack, stacked(spelled), lambda line: _scored(line.row.attacks.get(attack)))


def number(share: float, sign: str = "") -> str:
    """A share in %, as wide as others of a column; a sign stands outside of it."""
    text = percent(share)
    return rf"\phantom{{0}}{sign}{text}" if len(text) < 4 else sign + text


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"[{percent(estimate.low)}, {percent(estimate.high)}]"


def _estimated(estimate: Estimate | None, sign: str = "") -> Entry:
    if estimate is None or estimate.value is None:
        return Entry(DASH)
    return Entry(number(estimate.value, sign), _interval(estimate))


def _scored(score: Score | None) -> Entry:
    if score is None:
        return Entry(DASH)
    if score.status != "done":
        return Entry(rf"\textit{{{_STATUS[score.status]}}}", marks=score.notes)
    return _estimated(score.robust, AT_MOST * score.bound)._replace(marks=score.notes)


AT_MOST, AT_LEAST = r"\llap{$\leq$\,}", r"\llap{$\geq$\,}"


def _adaptive(line: Line) -> Entry:
    """The worst over the attacks that know the defense, and the gradient-free one."""
    cells = (*line.outcome.of("suite"), *line.outcome.of("gradient_free"))
    if not cells:
        return Entry(DASH)
    status = next((cell.status for cell in cells if cell.status != "done"), "done")
    if status != "done":
        return Entry(rf"\textit{{{_STATUS[status]}}}")
    share = estimates.share(least_correct(cells))
    if all(cell.valid for cell in cells):
        return _estimated(share)
    return _estimated(Estimate(value=share.value, n=share.n), AT_MOST)


def _certified(line: Line) -> Entry:
    return _estimated(line.row.certified, AT_LEAST)


def _worst(line: Line) -> Entry:
    row = line.row
    entry = _estimated(row.worst, "" if row.complete else AT_MOST)
    text = rf"\textbf{{{entry.number}}}" if line.top else entry.number
    return Entry(text, entry.interval, row.notes)


def _rank(row: Row) -> str:
    if row.rank is None:
        return DASH
    low, high = row.rank
    return str(low) if low == high else f"{low}--{high}"


def _published(row: Row) -> str:
    return DASH if row.published is None else f"{100 * row.published.clean:.2f} / {100 * row.published.robust:.2f}"


def _difference(row: Row) -> str:
    if row.published is None or row.published.difference is None:
        return DASH
    return f"${round(100 * row.published.difference, 1) + 0.0:+.1f}$"


def _fact(outcome: RowOutcome, name: str) -> str:
    found = entry_of(outcome)
    known = None if found is None else published.table().get((found[0].lower(), found[1].lower(), found[2]))
    text = "" if known is None else str(getattr(known, name))
    return escape(text) if text not in ("", "N/A") else DASH


def entry_of(outcome: RowOutcome) -> tuple[str, str, str] | None:
    """Dataset, threat model and name of the entry of RobustBench's leaderboard that a row's model is."""
    for cell in outcome.cells:
        entry = None if cell.result is None else cell.result.provenance.get("published")
        if isinstance(entry, list | tuple) and len(entry) == 3:
            return str(entry[0]), str(entry[1]), str(entry[2])
    return None
