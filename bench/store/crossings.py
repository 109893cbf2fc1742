"""Examples of each model on every other, from the records of a run: which were right when clean, and which were broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.store.audit import Finding
from bench.store.cell_outcome import BoolArray, CellOutcome, OutcomeStatus
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.records import Flag
from bench.store.run_directory import hash_of
from bench.suites.spec import ThreatModelSpec

SquareStatus = OutcomeStatus | Literal["invalid"]
"""As of a cell; ``invalid`` where something makes the cell, or the one that made the examples, invalid."""
_WORST_FIRST: tuple[SquareStatus, ...] = ("error", "unavailable", "missing", "partial", "invalid", "done")


@dataclass(frozen=True, slots=True, eq=False)
class Square:
    """The examples of one model on one row; N samples.

    Attributes:
        source: id of the model that the examples were made against.
        row: the row that they were tried on.
        cells: its cells that judged them, one per seed.
        status: ``done`` where there are numbers.
        reason: why there are none, in one line.
        right: which samples the row has right when clean, with the scoring draws of any seed, shape (N,).
        broken: which of those the examples break, by the examples of any seed, shape (N,).
        fooled: which samples both models have right, and the examples break on the source, shape (N,).
        carried: which of those the examples of the same seed break on the row too, shape (N,).
    """

    source: str
    row: RowOutcome
    cells: tuple[CellOutcome, ...]
    status: SquareStatus
    reason: str
    right: BoolArray
    broken: BoolArray
    fooled: BoolArray
    carried: BoolArray

    @property
    def own(self) -> bool:
        """Whether the row is the bare model that the examples were made against: what its own white-box attack did."""
        return self.row.bare and self.row.model == self.source


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """All squares of one threat model and attack.

    Attributes:
        threat_model: norm and radius.
        attack: the attack's name in tables.
        sources: ids of the models whose examples were tried.
        targets: the rows, those without a defense first; the bare models that examples were made against are among them.
        squares: by source and label of the row; where the suite doesn't ask for one, there is none.
    """

    threat_model: ThreatModelSpec
    attack: str
    sources: tuple[str, ...]
    targets: tuple[RowOutcome, ...]
    squares: Mapping[tuple[str, str], Square]


def matrices(outcome: RunOutcome) -> list[Matrix]:
    """By threat model and attack, in the suite's order; none where the suite asks for no transfer.

    Beside the transfer cells a matrix has what its examples do to the model that they were made against (the cell that made
    them), and to that model's defended rows (the oblivious cells).
    """
    found = []
    for threat_model in outcome.threat_models:
        rows = [*outcome.under(threat_model), *(row for row in outcome.makers if row.threat_model == threat_model)]
        made = {hash_of(cell.id): cell for row in rows if row.bare for cell in row.cells}
        for attack in dict.fromkeys(own_attack(cell) for row in rows for cell in row.of("transfer")):
            found.append(_matrix(threat_model, attack, rows, made))
    return found


def own_attack(cell: CellOutcome) -> str:
    """The attack that made the examples of a transfer cell, without the model that it was made against."""
    return cell.attack.removesuffix(f" from {cell.source}")


def _matrix(
    threat_model: ThreatModelSpec, attack: str, rows: Sequence[RowOutcome], made: Mapping[str, CellOutcome]
) -> Matrix:
    crossing = {row.label: [cell for cell in row.of("transfer") if own_attack(cell) == attack] for row in rows}
    models = dict.fromkeys(row.model for row in rows)
    there = {cell.source for cells in crossing.values() for cell in cells}
    sources = [model for model in models if model in there] + sorted(there - models.keys())
    wanted = (row for row in rows if crossing[row.label] or (row.bare and row.model in there))
    targets = sorted(wanted, key=lambda row: not row.bare)
    squares: dict[tuple[str, str], Square] = {}
    for source in sources:
        makers = _made(source, crossing.values(), made)
        for row in targets:
            cells = [cell for cell in crossing[row.label] if cell.source == source] or _beside(
                row, source, attack, makers
            )
            if cells:
                squares[source, row.label] = _square(source, row, cells, makers)
    return Matrix(threat_model, attack, tuple(sources), tuple(targets), squares)


def _made(
    source: str, crossing: Iterable[Sequence[CellOutcome]], made: Mapping[str, CellOutcome]
) -> dict[int, CellOutcome]:
    """By seed, the cells that made the examples of one model, as the records of the cells that judged them name them."""
    found = {}
    for cells in crossing:
        for cell in cells:
            maker = made.get(_examples(cell))
            if cell.source == source and maker is not None:
                found[cell.seed] = maker
    return found


def _examples(cell: CellOutcome) -> str:
    """Hash of the cell whose examples another judged; empty where no record tells."""
    facts = {} if cell.result is None else cell.result.provenance.get("facts")
    return str(facts.get("examples", "")) if isinstance(facts, dict) else ""


def _beside(row: RowOutcome, source: str, attack: str, makers: Mapping[int, CellOutcome]) -> list[CellOutcome]:
    """What the same examples did to the model that they were made against, and to its defended rows."""
    if row.model != source:
        return []
    return list(makers.values()) if row.bare else [cell for cell in row.of("oblivious") if cell.attack == attack]


def _square(source: str, row: RowOutcome, cells: Sequence[CellOutcome], makers: Mapping[int, CellOutcome]) -> Square:
    made = [makers[cell.seed] for cell in cells if cell.seed in makers]
    both = [*cells, *made]
    worst = min(both, key=lambda cell: _WORST_FIRST.index(_status(cell)))
    status, reason = _status(worst), worst.reason or _invalid(worst)
    if len(made) < len(cells) and status in ("done", "invalid"):
        status, reason = "missing", f"the cell that made the examples of {source} isn't in the run"
    pairs = [(cell, makers[cell.seed]) for cell in cells if cell.seed in makers]
    none = np.zeros(len(cells[0].known), dtype=bool)
    fooled = [cell.clean_correct & _broken(maker) for cell, maker in pairs]
    carried = [_broken(cell) & _broken(maker) for cell, maker in pairs]
    return Square(
        source, row, tuple(cells), status, reason,
        np.logical_or.reduce([cell.clean_correct for cell in cells]),
        np.logical_or.reduce([_broken(cell) for cell in cells]),
        np.logical_or.reduce([none, *fooled]),
        np.logical_or.reduce([none, *carried]),
    )  # fmt: skip


def _status(cell: CellOutcome) -> SquareStatus:
    return "invalid" if cell.status == "done" and not cell.valid else cell.status


def _invalid(cell: CellOutcome) -> str:
    """What makes a cell invalid; empty where nothing does."""
    marks: list[Flag | Finding] = [*(() if cell.result is None else cell.result.flags), *cell.findings]
    return next((mark.message for mark in marks if mark.severity == "invalid"), "")


def _broken(cell: CellOutcome) -> BoolArray:
    broken: BoolArray = cell.clean_correct & ~cell.robust
    return broken
