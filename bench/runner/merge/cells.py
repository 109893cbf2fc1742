"""What becomes of one cell: whose files it gets, and the record that follows from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import MetricError
from bench.runner import aggregate
from bench.runner.asked import asked
from bench.runner.merge.rows import Choice, Part, added_flags, choose
from bench.runner.merge.sources import Source
from bench.store import parts
from bench.store.corrupted import CorruptionResult
from bench.store.parts import ShardReport
from bench.store.records import CellResult
from bench.suites.cells import Cell
from bench.suites.expand import Makers
from bench.suites.spec import Suite

if TYPE_CHECKING:
    import pandas as pd

Result = TypeVar("Result", CellResult, CorruptionResult)
_BETTER = ("done", "error", "unavailable")
"""A status beats those after it."""
_WITHOUT_EXAMPLES: tuple[str, ...] = ("oblivious", "transfer", "certificate")
"""Roles of cells that attack nothing, so that they have no examples of their own."""


@dataclass(frozen=True, slots=True, eq=False)
class JoinedCell:
    """One cell of the joined run.

    Attributes:
        id: its id.
        cell: what it is.
        status: as in the records; ``partial`` where samples are missing, ``missing`` where there is no record.
        result: its record, without the digests of its files; ``None`` where it isn't finished anywhere.
        choice: whose rows count; ``None`` where no run has any.
        reports: beside those of the parts, what they don't say.
        lacking: samples of the joined suite that have no row.
    """

    id: str
    cell: Cell
    status: str
    result: CellResult | None
    choice: Choice | None
    reports: tuple[ShardReport, ...] = ()
    lacking: int = 0

    def given(self) -> dict[int, int]:
        """How many rows each run gives, by its place."""
        return {} if self.choice is None else self.choice.given()

    def from_target_alone(self, sources: Sequence[Source]) -> bool:
        """Whether the files that are at the target already are all that it gets."""
        given = self.given()
        return sources[0].target and not self.reports and set(given) <= {0}


def join(
    suite: Suite,
    identity: str,
    cell: Cell,
    makers: Makers,
    sources: Sequence[Source],
    positions: Sequence[int],
    preferred: int | None,
) -> JoinedCell:
    """Joins one cell of several runs.

    Args:
        suite: the joined one.
        identity: the cell's id.
        cell: in the words of the joined suite.
        makers: of the examples of all cells of the suite.
        sources: the runs.
        positions: of the samples that the joined suite asks for.
        preferred: place of the run whose rows count where nobody broke the sample.
    """
    choice = choose(
        identity, sources, keep=_keep(suite, cell, makers), certificate=cell.role == "certificate", preferred=preferred
    )
    results = [source.result(identity) for source in sources]
    if choice is None:
        result = _renamed(best_of(results, {}), identity, cell)
        return JoinedCell(
            identity, cell, "missing" if result is None else result.status, result, None, (), len(positions)
        )
    reports = tuple(added_flags(choice))
    rows, whole = read(choice, reports)
    asked = set(positions)
    wanted = rows if cell.role == "submitted" else rows[rows["position"].isin(asked)]
    lacking = 0 if cell.role == "submitted" else len(asked) - len(wanted)
    given = choice.given()
    best = best_of(results, given)
    if best is None or (lacking and best.status != "done") or not len(wanted):
        status = "missing" if best is None else best.status
        return JoinedCell(identity, cell, status, _renamed(best, identity, cell), choice, reports, lacking)
    result = _finished(suite, identity, cell, best, wanted, whole)
    result = with_origin(result, results, sources, given)
    return JoinedCell(identity, cell, "partial" if lacking else "done", result, choice, reports, lacking)


def _keep(suite: Suite, cell: Cell, makers: Makers) -> str:
    if makers.is_read(cell):
        return "all"
    if cell.role in _WITHOUT_EXAMPLES:
        return "none"
    return "all" if cell.role != "submitted" and suite.run.save_adversarial == "all" else "successes"


def best_of(results: Sequence[Result | None], given: Mapping[int, int]) -> Result | None:
    """The record that goes furthest; of those the one whose run gives the most rows.

    Args:
        results: of one cell, by run.
        given: how many rows each run gives, by its place.
    """
    there = [(place, result) for place, result in enumerate(results) if result is not None]
    if not there:
        return None
    return min(there, key=lambda one: (_BETTER.index(one[1].status), -given.get(one[0], 0)))[1]


def _words(cell: Cell) -> dict[str, Any]:  # Any: specs
    """What a record says of its cell, in the words of the joined suite; ``precision`` there is what ``auto`` came to."""
    names = [
        field.name for field in fields(cell) if field.name in CellResult.model_fields and field.name != "precision"
    ]
    return {name: getattr(cell, name) for name in names}


def _renamed(result: CellResult | None, identity: str, cell: Cell) -> CellResult | None:
    return None if result is None else result.model_copy(update={"cell": identity, **_words(cell)})


def read(choice: Choice, more: Iterable[ShardReport] = ()) -> tuple[pd.DataFrame, list[ShardReport]]:
    """The rows that count, by position, and what they cost.

    Args:
        choice: whose they are.
        more: further reports.
    """
    import pandas as pd

    frames, reports = [], list[ShardReport]()
    for number in choice.numbers():
        for part in choice.contributors(number):
            frames.append(own_rows(choice, part))
            reports += part.reports
    return pd.concat(frames, ignore_index=True).sort_values("position", ignore_index=True), [*reports, *more]


def own_rows(choice: Choice, part: Part) -> pd.DataFrame:
    """The rows of one part file of one run that count."""
    chosen = choice.chosen
    ids = chosen["sample_id"][(chosen["part"] == part.number) & (chosen["source"] == part.source)]
    rows = parts.read_rows(part.path).rows
    return rows[asked(rows, ids)]


def _finished(
    suite: Suite, identity: str, cell: Cell, best: CellResult, rows: pd.DataFrame, reports: list[ShardReport]
) -> CellResult:
    """The record of a cell from its rows; an error where no metric can be computed from them."""
    renamed = best.model_copy(update={"cell": identity, **_words(cell), "samples": len(rows)})
    try:
        found = aggregate.figures(suite, cell, rows, reports)
    except MetricError as error:
        return renamed.model_copy(
            update={"status": "error", "reason": str(error), "metrics": {}, "stages": (), "flags": ()}
        )
    return renamed.model_copy(update={"status": "done", "reason": "", "traceback": "", **found._asdict()})


def with_origin(
    result: Result, results: Sequence[Result | None], sources: Sequence[Source], given: Mapping[int, int]
) -> Result:
    """The record with the runs that its rows are from, and the machines of all of them.

    Args:
        result: of the joined cell.
        results: of one cell, by run.
        sources: the runs.
        given: how many rows each run gives, by its place.
    """
    if set(given) == {0} and sources[0].target:  # as it was
        return result
    origins: list[dict[str, Any]] = []  # Any: JSON values
    environments: list[Mapping[str, Any]] = []  # Any: JSON values
    for place, count in given.items():
        old = results[place]
        before = [] if old is None else old.provenance.get("joined", [])
        new = before if sources[place].target and before else [{"run": sources[place].name, "samples": count}]
        origins += [one for one in new if one not in origins]
        if old is not None and isinstance(found := old.provenance.get("environment"), Mapping):
            environments.append(found)
    update = {**result.provenance, "joined": origins, "environment": agreed(environments)}
    return result.model_copy(update={"provenance": update})


def agreed(environments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:  # Any: JSON values
    """Several environments as one: where they differ, every value that there is, joined by ``and``."""
    found: dict[str, Any] = {}  # Any: JSON values
    for key in dict.fromkeys(key for one in environments for key in one):
        values = [one[key] for one in environments if key in one]
        if all(isinstance(value, Mapping) for value in values):
            found[key] = agreed(values)
        elif all(value == values[0] for value in values):
            found[key] = values[0]
        else:
            found[key] = " and ".join(dict.fromkeys(one for value in values for one in str(value).split(" and ")))
    return found
