"""How one number came about: which images, who attacked how, what broke what, and what is missing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from bench import registry
from bench.errors import StoreError, UnknownNameError
from bench.leaderboard import stronger
from bench.leaderboard.adversaries import attacker, gradient_of
from bench.leaderboard.audited import audit_line
from bench.leaderboard.cells import CORRUPTIONS
from bench.leaderboard.corruption_explain import corrupted_explained
from bench.leaderboard.explanation import CellExplained, Explanation, Images, RowExplained
from bench.leaderboard.notes import SEVEREST, Severity
from bench.leaderboard.rank import inseparable
from bench.leaderboard.records import Leaderboard, Row, Table
from bench.leaderboard.table import make
from bench.metrics import estimates
from bench.store.audit import Finding
from bench.store.cell_outcome import CellOutcome, unbroken
from bench.store.corruption_outcomes import CorruptedRow
from bench.store.outcomes import RowOutcome, RunOutcome, read_outcomes
from bench.store.records import CellResult, Estimate, Flag
from bench.store.run_directory import RunDirectory
from bench.suites.declared import declared
from bench.suites.naming import entry_of
from bench.suites.spec import AttackSpec, DatasetSpec, ThreatModelSpec, format_eps


def explain(
    run: RunDirectory,
    model: str,
    *,
    defense: str | None = None,
    threat_model: str | None = None,
    outcome: RunOutcome | None = None,
) -> Explanation:
    """How the numbers of a model's rows came about.

    Args:
        run: the run.
        model: id of the model.
        defense: the defense's name in tables, ``none`` for the bare model; all rows where it isn't given.
        threat_model: ``norm:eps``, a norm for all its radii, or ``corruptions``; all where it isn't given.
        outcome: the run's rows, where they have been read already.

    Raises:
        UnknownNameError: where no row is meant, with what would be accepted.
        StoreError: where the records can't be read, or there is no row at all.
    """
    outcome = outcome or read_outcomes(run)
    board = make(run, outcome)
    wanted = "" if threat_model is None else threat_model.strip().lower()
    only = wanted == CORRUPTIONS or (not outcome.rows and bool(outcome.corrupted))
    rows = [] if only else chosen(outcome, model, defense, threat_model)
    under = chosen_corrupted(outcome, model, defense, needed=only) if wanted in ("", CORRUPTIONS) or only else []
    return Explanation(
        suite=board.suite,
        run=board.run,
        images=_images(outcome, board),
        audit=board.audit,
        rows=tuple(_row(outcome, board, row, str(run.path)) for row in rows),
        corrupted=tuple(corrupted_explained(outcome, board.corruptions, row) for row in under if board.corruptions),
    )


def chosen(outcome: RunOutcome, model: str, defense: str | None, threat_model: str | None) -> list[RowOutcome]:
    """The rows that are meant.

    Raises:
        UnknownNameError: where there is none, with what would be accepted.
        StoreError: where there is no row at all.
    """
    if not outcome.rows:
        raise StoreError("the run has no rows: no cell of its suite belongs to one")
    rows = [row for row in outcome.rows if row.model == model]
    if not rows:
        raise _unknown("model", model, [row.model for row in outcome.rows])
    if defense is not None:
        known = [row.defense for row in rows]
        rows = [row for row in rows if row.defense == defense]
        if not rows:
            raise _unknown(f"defense of {model}", defense, known)
    if threat_model is not None:
        addresses = [_address(row.threat_model) for row in rows]
        rows = [row for row in rows if _meant(row.threat_model, threat_model)]
        if not rows:
            raise _unknown("threat model of these rows", threat_model, addresses)
    return rows


def chosen_corrupted(outcome: RunOutcome, model: str, defense: str | None, *, needed: bool) -> list[CorruptedRow]:
    """The same of rows under common corruptions.

    Args:
        outcome: the run's rows.
        model: id of the model.
        defense: the defense's name in tables.
        needed: whether there must be one.

    Raises:
        UnknownNameError: where one is needed and there is none, with what would be accepted.
        StoreError: where the suite has no corruptions.
    """
    if not needed:
        return [row for row in outcome.corrupted if row.model == model and defense in (None, row.defense)]
    if not outcome.corrupted:
        raise StoreError("the run has no rows under common corruptions: its suite has none")
    rows = [row for row in outcome.corrupted if row.model == model]
    if not rows:
        raise _unknown("model", model, [row.model for row in outcome.corrupted])
    found = [row for row in rows if defense in (None, row.defense)]
    if not found:
        raise _unknown(f"defense of {model}", str(defense), [row.defense for row in rows])
    return found


def _unknown(kind: str, name: str, known: Sequence[str]) -> UnknownNameError:
    names = list(dict.fromkeys(known))
    return UnknownNameError(kind, name, difflib.get_close_matches(name, names, n=3), names)


def _meant(ball: ThreatModelSpec, text: str) -> bool:
    if text.strip().lower() == ball.norm:
        return True
    try:
        return ThreatModelSpec.model_validate(text) == ball
    except ValidationError:
        return False


def _address(ball: ThreatModelSpec) -> str:
    return f"{ball.norm}:{format_eps(ball.eps)}"


def _images(outcome: RunOutcome, board: Leaderboard) -> Images:
    return Images(
        dataset=board.dataset,
        images=board.images,
        selection=_selection(outcome.record.suite.dataset, board.images),
        digest=str(outcome.record.dataset.get("digest") or ""),
        note=board.note,
    )


def _selection(spec: DatasetSpec, images: int) -> str:
    source = "" if spec.source is None else f" of the source {spec.source}"
    count = f"{images:,} image{'s' * (images != 1)}{source}"
    if spec.samples is None:
        return f"all {count}"
    if spec.select == "first":
        return f"the first {count}"
    return (
        f"{count}, drawn at random{' and evenly over the classes' * (spec.select == 'stratified')} (seed {spec.seed})"
    )


def _row(outcome: RunOutcome, board: Leaderboard, row: RowOutcome, place: str) -> RowExplained:
    table, numbers = _shown(board, row)
    cells = tuple(cell_explained(row, cell) for cell in row.cells)
    alone = [cell for cell in cells if cell.left is not None and cell.role != "certificate"]
    return RowExplained(
        threat_model=row.threat_model.label,
        address=_address(row.threat_model),
        numbers=numbers,
        stochastic=any(declared(result.defense).stochastic for result in _results(row)) and not row.bare,
        interval="Wilson's" if np.isin(row.worst_correctness, (0, 1)).all() else "a bootstrap",
        attacker=_attacker(row),
        cells=cells,
        strongest=min(alone, key=_left).cell if alone else "",
        ranked=sum(one.rank is not None for one in table.rows),
        inseparable=inseparable(outcome.under(row.threat_model)).get(row.label, ()),
        notes=tuple(note for note in table.notes if note.number in numbers.notes),
        audit=audit_line(board, table).replace("bench audit RUN", f"bench audit {place}"),
        unranked=() if row.complete else unranked(outcome, row),
        stronger=stronger.suggestions(outcome, row, numbers, place),
    )


def _shown(board: Leaderboard, row: RowOutcome) -> tuple[Table, Row]:
    """The row as its table shows it."""
    ball = row.threat_model
    table = next(one for one in board.tables if (one.norm, one.eps) == (ball.norm, str(ball.eps)))
    return table, next(one for one in table.rows if (one.model, one.defense) == (row.model, row.defense))


def _results(row: RowOutcome) -> list[CellResult]:
    return [cell.result for cell in row.cells if cell.result is not None]


def _left(cell: CellExplained) -> float:
    return 1.0 if cell.left is None or cell.left.value is None else cell.left.value


def _attacker(row: RowOutcome) -> str:
    knowing = [cell.result for cell in row.of("suite") if cell.result is not None]
    return "" if row.bare or not knowing else attacker(knowing[0].defense)


def cell_explained(row: RowOutcome, cell: CellOutcome) -> CellExplained:
    """What one cell of a row did."""
    result = cell.result
    broken = cell.clean_correct & ~cell.robust
    others = tuple(other for other in row.attacked if other is not cell)
    correct, reused = int(cell.clean_correct.sum()), _reused(result)
    return CellExplained(
        cell=cell.id,
        role=cell.role,
        attack=cell.attack,
        args={} if result is None else _args(result.attack),
        backend=None if result is None else result.attack.backend,
        adversary=cell.role if cell.role in ("oblivious", "naive", "transfer") else "adaptive",
        gradient="" if result is None else _gradient(cell, result),
        search="" if result is None else result.search,
        precision="" if result is None else result.precision,
        seed=cell.seed,
        eot_iter=None if result is None else result.defense.eot_iter,
        scoring_draws=None if result is None else result.defense.scoring_draws,
        status=cell.status,
        reason=" ".join(cell.reason.split()),
        correct=correct,
        attacked=None if cell.role in ("submitted", "certificate") else correct - reused,
        reused=reused,
        broken=int(broken.sum()),
        alone=int((broken & unbroken(others)).sum()) if others else int(broken.sum()),
        left=_alone(cell),
        stages=() if result is None else result.stages,
        forwards=_passes(result, "forwards"),
        backwards=_passes(result, "backwards"),
        seconds=None if result is None or result.cost is None else result.cost.seconds,
        flags=_flags(cell),
    )


def _args(attack: AttackSpec) -> dict[str, Any]:  # Any: JSON values
    entry = entry_of(registry.attacks, attack.name)
    if entry is None or entry.params is None:
        return dict(attack.args)
    defaults = {name: field.get_default() for name, field in entry.params.model_fields.items()}
    return {name: value for name, value in attack.args.items() if name not in defaults or defaults[name] != value}


def _gradient(cell: CellOutcome, result: CellResult) -> str:
    """Where a cell's points come from, for people."""
    if cell.role == "oblivious":
        return "the examples that were made against the bare model"
    if cell.role == "transfer":
        return f"the examples that were made against {cell.source}"
    if cell.role == "submitted":
        return f"examples that {result.attack.args.get('author') or cell.attack} submitted"
    if cell.role == "certificate":
        return "no attack: a certificate"
    if stronger.kind(result.attack) == "score":
        return "no gradient"
    if cell.role == "naive":
        return "the gradient as it comes: no BPDA, no EOT, blind to rejection"
    return gradient_of(result.defense)


def _reused(result: CellResult | None) -> int:
    return 0 if result is None or result.cost is None else result.cost.reused


def _passes(result: CellResult | None, name: str) -> float | None:
    if result is None or result.cost is None or not result.samples:
        return None
    estimate = result.metrics.get(name)
    if estimate is not None and estimate.value is not None:
        return estimate.value
    return float(getattr(result.cost, name)) / result.samples


def _alone(cell: CellOutcome) -> Estimate | None:
    """What a cell leaves by itself; a bound has no interval."""
    if cell.status != "done":
        return None
    found = estimates.share(cell.correctness)
    return found if cell.valid else Estimate(value=found.value, n=found.n)


def _flags(cell: CellOutcome) -> dict[str, str]:
    """Severity by rule; a flag that the audit took over in the same words has the audit's rule."""
    marks: list[Flag | Finding] = [*(() if cell.result is None else cell.result.flags), *cell.findings]
    said = {" ".join(mark.message.split()): mark.rule for mark in marks}
    severities: dict[str, Severity] = {}
    for mark in marks:
        rule = said[" ".join(mark.message.split())]
        severities[rule] = min(severities.get(rule, mark.severity), mark.severity, key=SEVEREST.index)
    return {rule: str(severity) for rule, severity in severities.items()}


def unranked(outcome: RunOutcome, row: RowOutcome) -> tuple[str, ...]:
    """Why a row has no rank."""
    reasons = [f"{_named(cell)}: {cell.status}: {cell.reason}" for cell in row.cells if cell.status != "done"]
    for cell in row.cells:
        reasons += [
            f"{_named(cell)}: invalid: {rule}" for rule, severity in _flags(cell).items() if severity == "invalid"
        ]
    reasons += [f"invalid: {one.rule}: {one.message}" for one in row.findings if one.severity == "invalid"]
    if outcome.unplaced:
        reasons.append(f"{len(outcome.unplaced)} unfinished cell(s) of the run can't be told from those of this row")
    return tuple(" ".join(reason.split()) for reason in reasons)


def _named(cell: CellOutcome) -> str:
    more = [cell.role.replace("_", "-")] if cell.role != "suite" else []
    more += [f"seed {cell.seed}"] if cell.seed else []
    return f"{cell.attack} ({', '.join(more)})" if more else cell.attack
