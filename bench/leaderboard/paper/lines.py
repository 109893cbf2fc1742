"""The rows of a paper's table: with their names and citations in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard.paper.bibliography import Bibliography
from bench.leaderboard.paper.columns import Line, entry_of
from bench.leaderboard.paper.naming import defense_names
from bench.leaderboard.paper.texts import breakable, cite
from bench.leaderboard.records import Row, Table
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.suites.spec import DefenseSpec, ThreatModelSpec


def lines(
    outcome: RunOutcome, table: Table, threat_model: ThreatModelSpec, cited: Bibliography, *, grouped: bool
) -> list[Line]:
    """The rows in the leaderboard's order.

    Args:
        outcome: the rows of a run.
        table: the leaderboard's table.
        threat_model: the table's.
        cited: collects what the names cite.
        grouped: by model and then by defense, in the suite's order, in place of the leaderboard's.
    """
    outcomes = outcome.under(threat_model)
    by_label = {(row.model, row.defense): row for row in outcomes}
    specs = {(spec.id or spec.name): spec for spec in outcome.record.suite.defenses}
    names = defense_names(specs.values())
    models = {spec.id: spec.source for spec in outcome.record.suite.models}
    highest = max((_value(row) for row in table.rows if row.rank is not None), default=-1.0)
    found = []
    for row in table.rows:
        own = by_label[row.model, row.defense]
        model = breakable(row.model) + cite(cited.model(models.get(row.model, ""), entry_of(own)))
        defense = breakable(names.get(row.defense, row.defense)) + cite(
            cited.defense(specs.get(row.defense, DefenseSpec(name="none")))
        )
        found.append(Line(row, own, model, defense, row.rank is not None and _value(row) >= highest))
    return _grouped(found, outcomes) if grouped else found


def _grouped(found: Sequence[Line], outcomes: Sequence[RowOutcome]) -> list[Line]:
    order = {(row.model, row.defense): place for place, row in enumerate(outcomes)}
    models = list(dict.fromkeys(model for model, _ in order))
    return sorted(found, key=lambda line: (models.index(line.row.model), order[line.row.model, line.row.defense]))


def _value(row: Row) -> float:
    return -1.0 if row.worst is None or row.worst.value is None else row.worst.value
