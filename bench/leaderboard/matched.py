"""Which rows of two runs belong beside each other."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from bench.errors import UnknownNameError
from bench.leaderboard.cells import CORRUPTIONS
from bench.store.corruption_outcomes import CorruptedRow
from bench.store.outcomes import RowOutcome, RunOutcome, address

Row = TypeVar("Row", RowOutcome, CorruptedRow)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows are meant; everything where nothing is.

    Attributes:
        rows: ``MODEL`` or ``MODEL+DEFENSE`` of either side.
        model: id of the model.
        defense: the defense's name in tables.
        threat_model: ``norm:eps`` or a label such as ``Linf 8/255``; ``corruptions`` for the rows under these.
    """

    rows: tuple[str, str] | None = None
    model: str | None = None
    defense: str | None = None
    threat_model: str | None = None

    @property
    def corruptions_alone(self) -> bool:
        """Whether only rows under common corruptions are meant."""
        return (self.threat_model or "").lower() == CORRUPTIONS


EVERYTHING = Chosen()
Match = tuple[RowOutcome | str, RowOutcome | str]
"""Two rows; or one, and on the other side why it has none."""


def matched(one: RunOutcome, other: RunOutcome, chosen: Chosen, *, same: bool) -> Iterator[Match]:
    """The rows that belong beside each other.

    Args:
        one: the first run.
        other: the second.
        chosen: which rows.
        same: whether the two are one run, whose rows are paired with each other.

    Raises:
        UnknownNameError: where no row is meant, with what would be accepted.
    """
    left, right = (_under(_named(side.rows, chosen), chosen) for side in (one, other))
    if chosen.rows is not None:
        left, right = _called(left, chosen.rows[0]), _called(right, chosen.rows[1])
        yield from _by_ball(left, right)
    elif same:
        for threat_model in one.threat_models:
            yield from combinations([row for row in left if row.threat_model == threat_model], 2)
    else:
        yield from _by_name(left, right)


def matched_corruptions(
    one: RunOutcome, other: RunOutcome, chosen: Chosen, *, same: bool
) -> Iterator[tuple[CorruptedRow | None, CorruptedRow | None]]:
    """The same of rows under common corruptions; ``None`` where the other side has none.

    Args:
        one: the first run.
        other: the second.
        chosen: which rows.
        same: whether the two are one run.

    Raises:
        UnknownNameError: where no row is meant, with what would be accepted.
    """
    left, right = _named(one.corrupted, chosen), _named(other.corrupted, chosen)
    if chosen.rows is not None:
        yield from zip(_called(left, chosen.rows[0]), _called(right, chosen.rows[1]), strict=True)
    elif same:
        yield from combinations(left, 2)
    else:
        found = {row.label: row for row in right}
        for row in left:
            yield row, found.pop(row.label, None)
        for lone in found.values():
            yield None, lone


def _named(rows: Sequence[Row], chosen: Chosen) -> list[Row]:
    """The rows of the model and the defense that are meant."""
    kept = list(rows)
    for kind, wanted in (("model", chosen.model), ("defense", chosen.defense)):
        if wanted is None:
            continue
        known = [row.model if kind == "model" else row.defense for row in kept]
        kept = [row for row, name in zip(kept, known, strict=True) if wanted.lower() == name.lower()]
        if not kept:
            raise _unknown(kind, wanted, known)
    return kept


def _under(rows: Sequence[RowOutcome], chosen: Chosen) -> list[RowOutcome]:
    """Those under the threat model that is meant."""
    wanted = chosen.threat_model
    if wanted is None:
        return list(rows)
    found = [row for row in rows if wanted.lower() in (name.lower() for name in _balls(row))]
    if not found:
        raise _unknown("threat model", wanted, [_balls(row)[0] for row in rows])
    return found


def _balls(row: RowOutcome) -> tuple[str, ...]:
    ball = row.threat_model
    return ball.label.replace(" ", ":", 1).lower(), ball.label, address(ball), ball.norm


def _called(rows: Sequence[Row], name: str) -> list[Row]:
    """The rows of one ``MODEL`` or ``MODEL+DEFENSE``; a model alone is the bare one."""
    found = [row for row in rows if name in (row.label, f"{row.model}+{row.defense}")]
    if not found:
        raise _unknown("row", name, [row.label.replace(" + ", "+") for row in rows])
    return found


def _unknown(kind: str, name: str, known: Sequence[str]) -> UnknownNameError:
    names = list(dict.fromkeys(known))
    return UnknownNameError(kind, name, difflib.get_close_matches(name, names, n=3), names)


def _by_ball(left: Sequence[RowOutcome], right: Sequence[RowOutcome]) -> Iterator[Match]:
    """Two named rows, under every threat model that both have."""
    found = {row.threat_model: row for row in right}
    for row in left:
        yield row, found.pop(row.threat_model, ", ".join(one.threat_model.label for one in right))
    for lone in found.values():
        yield ", ".join(one.threat_model.label for one in left), lone


def _by_name(left: Sequence[RowOutcome], right: Sequence[RowOutcome]) -> Iterator[Match]:
    """Rows of the same model and defense under the same threat model."""
    found = {(row.threat_model, row.label): row for row in right}
    for row in left:
        yield row, found.pop((row.threat_model, row.label), _elsewhere(row, right))
    for lone in found.values():
        yield _elsewhere(lone, left), lone


def _elsewhere(row: RowOutcome, others: Sequence[RowOutcome]) -> str:
    """Under which threat models the other run has this row."""
    return ", ".join(one.threat_model.label for one in others if one.label == row.label)
