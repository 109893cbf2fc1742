"""What a rule of the audit is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from bench.audit.evidence import CannotCheck, Evidence, NotMeant, RowEvidence, TableEvidence
from bench.store.audit import Severity

Scope = Literal["row", "table", "run"]

CARLINI = "Carlini et al. 2019, arXiv:1902.06705"
ATHALYE = "Athalye et al. 2018, arXiv:1802.00420"
TRAMER = "Tramer et al. 2020, arXiv:2002.08347"
CROCE = "Croce & Hein 2020, arXiv:2003.01690"
PINTOR = "Pintor et al. 2022, arXiv:2106.09947"


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule saw.

    Attributes:
        severity: how bad it is.
        message: what was seen, with its numbers.
        cells: ids of the cells that it speaks of; the row as a whole where there are none.
        evidence: the numbers, as JSON values.
        source: of the flag that was taken over; the rule's own where it is empty.
    """

    severity: Severity
    message: str
    cells: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)  # Any: JSON values
    source: str = ""


Check: TypeAlias = (
    Callable[[RowEvidence], Iterable[Found]]
    | Callable[[TableEvidence], Iterable[Found]]
    | Callable[[Evidence], Iterable[Found]]
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One known sign of a bad evaluation.

    Attributes:
        id: its name in tables, such as ``single-step-stronger``.
        title: in a few words.
        means: what it means when it fires, and when it does.
        advice: what to do then.
        source: the paper.
        check: looks; raises :class:`bench.audit.evidence.CannotCheck` where it can't.
        scope: what ``check`` looks at: a row, all rows of a threat model, or the run.
        strength: whether it says that an attack was too weak: of a row in which nothing is left to break, that is no more
            than an ``info``.
    """

    id: str
    title: str
    means: str
    advice: str
    source: str
    check: Any  # Any: a Check; mypy can't tell the three by scope
    scope: Scope = "row"
    strength: bool = False


def lifted(*flags: str) -> Callable[[RowEvidence], Iterable[Found]]:
    """A check that takes over flags which the runner raised on the row's cells.

    Args:
        flags: their ids.
    """

    def check(row: RowEvidence) -> Iterable[Found]:
        said: dict[tuple[Severity, str, str], list[str]] = {}
        for cell in row.row.cells:
            for flag in () if cell.result is None else cell.result.flags:
                if flag.rule in flags:
                    said.setdefault((flag.severity, flag.message, flag.source), []).append(cell.id)
        for (severity, message, source), cells in said.items():
            yield Found(severity, message, tuple(cells), source=source)

    return check


def both(*checks: Callable[[RowEvidence], Iterable[Found]]) -> Callable[[RowEvidence], Iterable[Found]]:
    """Several checks of a row as one; a part that can't look, or doesn't speak of the row, keeps no other from it.

    Args:
        checks: each of them.
    """

    def check(row: RowEvidence) -> Iterable[Found]:
        reason, unmeant = None, 0
        for one in checks:
            try:
                yield from one(row)
            except CannotCheck as error:
                reason = error
            except NotMeant:
                unmeant += 1
        if reason is not None:
            raise reason
        if unmeant == len(checks):
            raise NotMeant

    return check
