"""From the records of a run to its leaderboard: one table per threat model, one row per (model, defense)."""

from __future__ import annotations

from collections.abc import Sequence

from bench.leaderboard import notes
from bench.leaderboard.adversaries import broken_by
from bench.leaderboard.agreement import agreement
from bench.leaderboard.corruptions import corruption_table
from bench.leaderboard.rank import ranked
from bench.leaderboard.records import Audited, CellNumbers, Leaderboard, PublishedNumbers, Row, Score, Table
from bench.leaderboard.restored import restored
from bench.leaderboard.transfer import transfers
from bench.metrics import estimates
from bench.store import published
from bench.store.cell_outcome import CellOutcome, FloatArray, OutcomeStatus, least_correct
from bench.store.outcomes import RowOutcome, RunOutcome, address, read_outcomes
from bench.store.records import Estimate, RunRecord
from bench.store.run_directory import RunDirectory
from bench.suites.cells import Role
from bench.suites.spec import ThreatModelSpec

_WORST_FIRST: tuple[OutcomeStatus, ...] = ("error", "unavailable", "missing", "partial", "done")
_OTHERS: tuple[Role, ...] = ("gradient_free", "naive", "oblivious")
_DATASETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "mnist": "MNIST", "imagenet": "ImageNet"}


def make(run: RunDirectory, outcome: RunOutcome | None = None) -> Leaderboard:
    """The leaderboard of a run, from its records alone.

    Args:
        run: the run.
        outcome: its rows, where they have been read already.

    Raises:
        StoreError: where the records can't be read.
    """
    outcome = outcome or read_outcomes(run)
    record = outcome.record
    return Leaderboard(
        suite=record.suite.name,
        description=record.suite.description,
        run=record.run,
        dataset=_dataset(record),
        images=outcome.samples,
        note=str(record.dataset.get("note") or ""),
        audit=_audited(outcome),
        tables=tuple(_table(outcome, threat_model) for threat_model in outcome.threat_models),
        corruptions=corruption_table(outcome),
        transfers=transfers(outcome),
        agreement=agreement(outcome),
        cells=tuple(_numbers(row, cell) for row in outcome.rows for cell in row.cells),
    )


def _dataset(record: RunRecord) -> str:
    name = record.suite.dataset.name
    return f"{_DATASETS.get(name, name)} {record.suite.dataset.split}"


def _audited(outcome: RunOutcome) -> Audited | None:
    found = outcome.audited
    if found is None:
        return None
    return Audited(made=found.made, samples=found.samples, outdated=outcome.outdated, rules=found.rules)


def _table(outcome: RunOutcome, threat_model: ThreatModelSpec) -> Table:
    ordered = ranked(outcome.under(threat_model))
    found = {row.label: _published(row) for row, _ in ordered}
    known = notes.collect([row for row, _ in ordered], found, outcome.unplaced)
    return Table(
        threat_model=threat_model.label,
        norm=threat_model.norm,
        eps=str(threat_model.eps),
        attacks=columns([row for row, _ in ordered]),
        rows=tuple(_row(row, rank, found[row.label], known) for row, rank in ordered),
        notes=known.notes,
        found=_found(outcome, threat_model),
    )


def _found(outcome: RunOutcome, threat_model: ThreatModelSpec) -> dict[str, int]:
    findings = () if outcome.audited is None else outcome.audited.findings
    own = [finding.severity for finding in findings if finding.threat_model in ("", address(threat_model))]
    return {severity: own.count(severity) for severity in notes.SEVEREST if severity in own}


def columns(rows: Sequence[RowOutcome]) -> tuple[str, ...]:
    """The attacks that the suite asks for in these rows: those of the row that has most first."""
    most = sorted(rows, key=lambda row: -len(row.of("suite")))
    return tuple(dict.fromkeys(cell.attack for row in most for cell in row.of("suite")))


def _row(row: RowOutcome, rank: tuple[int, int] | None, found: published.Published | None, known: notes.Notes) -> Row:
    by_attack: dict[str, list[CellOutcome]] = {}
    for cell in row.of("suite"):
        by_attack.setdefault(cell.attack, []).append(cell)
    groups = [tuple(cells) for cells in by_attack.values()]
    others = {role: row.of(role) for role in _OTHERS}
    marks = _marks([*groups, *others.values()], known)
    attacks, rest = marks[: len(groups)], dict(zip(others, marks[len(groups) :], strict=True))
    clean = _share(row.clean_correctness) if row.known.all() else None
    worst = _worst(row)
    return Row(
        rank=rank,
        best=rank is not None and rank[0] == 1,
        model=row.model,
        defense=row.defense,
        clean=clean,
        attacks={attack: _score(cells, own) for attack, cells, own in zip(by_attack, groups, attacks, strict=True)},
        gradient_free=_maybe(others["gradient_free"], rest["gradient_free"]),
        naive=_maybe(others["naive"], rest["naive"]),
        oblivious=_maybe(others["oblivious"], rest["oblivious"]),
        certified=_certified(row),
        worst=worst,
        complete=row.complete,
        published=_compared(found, clean, worst if row.complete else None),
        seconds=_seconds(row.cells),
        broken=broken_by(row),
        restored=restored(row),
        correct=int(row.clean_correct.sum()),
        notes=known.marks[row.label],
    )


def _marks(columns: Sequence[tuple[CellOutcome, ...]], known: notes.Notes) -> list[tuple[int, ...]]:
    """The notes beside the numbers of each column; what is said of all of them stands beside the row's number only."""
    said = [{number for cell in cells for number in known.cells.get(cell.id, ())} for cells in columns]
    there = [own for own, cells in zip(said, columns, strict=True) if cells]
    everywhere = set.intersection(*there) if len(there) > 1 else set()
    return [tuple(sorted(own - everywhere)) for own in said]


def _worst(row: RowOutcome) -> Estimate | None:
    """The row's number; where it isn't complete only the bound, which has no interval."""
    if not row.known.any():
        return None
    worst = _share(row.worst_correctness)
    return worst if row.complete else Estimate(value=worst.value, n=worst.n)


def _certified(row: RowOutcome) -> Estimate | None:
    """The share that is certified at eps, where its cells are done."""
    cells = row.of("certificate")
    if not cells or any(cell.status != "done" for cell in cells):
        return None
    return _share(least_correct(cells))


def _maybe(cells: tuple[CellOutcome, ...], marks: tuple[int, ...]) -> Score | None:
    return _score(cells, marks) if cells else None


def _score(cells: tuple[CellOutcome, ...], marks: tuple[int, ...]) -> Score:
    status = min((cell.status for cell in cells), key=_WORST_FIRST.index)
    seeds = dict.fromkeys(sorted({cell.seed for cell in cells}), ())
    per_seed = {seed: least_correct(tuple(cell for cell in cells if cell.seed == seed)) for seed in seeds}
    done, bound = status == "done", not all(cell.valid for cell in cells)
    robust = _share(least_correct(cells)) if done else None
    if robust is not None and bound:
        robust = Estimate(value=robust.value, n=robust.n)
    return Score(
        status=status,
        robust=robust,
        seeds={seed: float(robust.mean()) for seed, robust in per_seed.items()} if done else {},
        seconds=_seconds(cells),
        cells=tuple(cell.id for cell in cells),
        bound=done and bound,
        notes=marks,
    )


def _share(outcomes: FloatArray) -> Estimate:
    return estimates.share(outcomes)


def _seconds(cells: tuple[CellOutcome, ...]) -> float:
    return sum(cell.result.cost.seconds for cell in cells if cell.result is not None and cell.result.cost is not None)


def _published(row: RowOutcome) -> published.Published | None:
    """The published entry of a bare model, as the runner wrote it into the provenance of its cells."""
    for cell in row.cells if row.bare else ():
        entry = cell.result.provenance.get("published") if cell.result is not None else None
        if entry:
            dataset, threat_model, name = entry
            return published.lookup(str(dataset), str(threat_model), str(name), row.threat_model.eps)
    return None


def _compared(
    found: published.Published | None, clean: Estimate | None, worst: Estimate | None
) -> PublishedNumbers | None:
    if found is None:
        return None
    known_clean, known_robust = round(found.clean / 100, 6), round(found.robust / 100, 6)
    return PublishedNumbers(
        entry=found.entry,
        eps=found.eps,
        clean=known_clean,
        robust=known_robust,
        clean_difference=None if clean is None or clean.value is None else clean.value - known_clean,
        difference=None if worst is None or worst.value is None else worst.value - known_robust,
        unreliable=found.unreliable,
        link=found.link,
    )


def _numbers(row: RowOutcome, cell: CellOutcome) -> CellNumbers:
    result = cell.result
    return CellNumbers(
        cell=cell.id,
        role=cell.role,
        threat_model=row.threat_model.label,
        model=row.model,
        defense=row.defense,
        attack=cell.attack,
        adversary=cell.role if cell.role in ("oblivious", "naive", "transfer") else "adaptive",
        seed=cell.seed,
        status=cell.status,
        metrics={} if result is None else result.metrics,
        cost=None if result is None else result.cost,
        rounded=_rounded(cell),
    )


def _rounded(cell: CellOutcome) -> float | None:
    for finding in cell.findings:
        if finding.rule == "rounding" and finding.evidence.get("successes"):
            return float(finding.evidence["left"]) / float(finding.evidence["successes"])
    return None
