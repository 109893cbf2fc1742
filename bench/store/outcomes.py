"""What the rows of a run say, joined by sample: which images each (model, defense) keeps under which cell.

Tables and plots are made from this. Only the samples that the suite asks for now count. Verified successes count
wherever they stand, in failed and unfinished cells too; an image that nothing broke counts as robust, so that every
worst case here is an upper bound, and :attr:`RowOutcome.complete` says whether it may be ranked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.digests import file_digest
from bench.store.audit import AuditRecord, Finding
from bench.store.cell_outcome import BoolArray, CellOutcome, FloatArray, OutcomeStatus, least_correct, unbroken
from bench.store.corruption_outcomes import CorruptedRow, named_images, read_corruptions
from bench.store.joined import Joined
from bench.store.records import CellResult, RunRecord
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.added import ADAM
from bench.suites.cells import Cell, Role
from bench.suites.spec import AttackSpec, DefenseSpec, ThreatModelSpec


@dataclass(frozen=True, slots=True, eq=False)
class RowOutcome:
    """One (model, defense) under one threat model.

    Attributes:
        model: id of the model.
        defense: the defense's name in tables; ``none`` for the bare model.
        bare: whether there is no defense.
        threat_model: norm and radius.
        cells: its cells in the suite's order; the prerequisites of defended rows count for the bare one.
        complete: whether every cell is done and valid and the audit calls nothing of the row invalid, so that it may be
            ranked.
        findings: what the audit found of the row as a whole, of its table or of the run.
    """

    model: str
    defense: str
    bare: bool
    threat_model: ThreatModelSpec
    cells: tuple[CellOutcome, ...]
    complete: bool
    findings: tuple[Finding, ...] = ()

    @property
    def label(self) -> str:
        """For people: the model, and the defense where there is one."""
        return self.model if self.bare else f"{self.model} + {self.defense}"

    def of(self, role: Role) -> tuple[CellOutcome, ...]:
        """The cells of one role."""
        return tuple(cell for cell in self.cells if cell.role == role)

    @property
    def known(self) -> BoolArray:
        """Which samples have a row in any cell, shape (N,)."""
        known: BoolArray = np.logical_or.reduce([cell.known for cell in self.cells])
        return known

    @property
    def clean_correct(self) -> BoolArray:
        """Which samples are correct on the clean image by the first cell that has them, shape (N,)."""
        result = np.zeros_like(self.cells[0].known)
        for cell in reversed(self.cells):
            result = np.where(cell.known, cell.clean_correct, result)
        return result

    @property
    def clean_correctness(self) -> FloatArray:
        """Share of the draws in which each clean image is right, by the first cell that has it, shape (N,)."""
        result = np.zeros(len(self.cells[0].known))
        for cell in reversed(self.cells):
            result = np.where(cell.known, cell.clean_correctness, result)
        return result

    @property
    def attacked(self) -> tuple[CellOutcome, ...]:
        """The cells that attacked the row: a certificate is no attack."""
        return tuple(cell for cell in self.cells if cell.role != "certificate")

    @property
    def worst(self) -> BoolArray:
        """Which samples no cell broke, shape (N,)."""
        return unbroken(self.attacked)

    @property
    def worst_correctness(self) -> FloatArray:
        """Share of the draws that the worst cell leaves right, per sample, shape (N,): 0 or 1 for deterministic models."""
        return least_correct(self.attacked)


@dataclass(frozen=True, slots=True, eq=False)
class RunOutcome:
    """All rows of a run.

    Attributes:
        record: ``run.json``.
        samples: N, the number of samples that the suite asks for now.
        rows: by threat model, model and defense, in the suite's order.
        unplaced: ids of unfinished cells whose row can't be told; where there are any, no row is complete.
        audited: ``audit.json``; ``None`` where the run wasn't audited.
        outdated: how many cells have changed since, weren't there yet, or are gone.
        sample_ids: id of each of the N samples; empty where no cell has a row of it.
        sample_digests: digest of each; empty where no cell has a row of it.
        positions: of each in the dataset, sorted; of every sample that has a row where ``run.json`` has none.
        corrupted: the rows under common corruptions, which no other row knows of.
        makers: bare rows that the suite doesn't show: they only made the examples for others.
    """

    record: RunRecord
    samples: int
    rows: tuple[RowOutcome, ...]
    unplaced: tuple[str, ...]
    audited: AuditRecord | None = None
    outdated: int = 0
    sample_ids: tuple[str, ...] = ()
    sample_digests: tuple[str, ...] = ()
    positions: tuple[int, ...] = ()
    corrupted: tuple[CorruptedRow, ...] = ()
    makers: tuple[RowOutcome, ...] = ()

    @property
    def threat_models(self) -> tuple[ThreatModelSpec, ...]:
        """The threat models that have rows, in the suite's order."""
        return tuple(dict.fromkeys(row.threat_model for row in self.rows))

    def under(self, threat_model: ThreatModelSpec) -> tuple[RowOutcome, ...]:
        """The rows of one threat model."""
        return tuple(row for row in self.rows if row.threat_model == threat_model)


def read_outcomes(run: RunDirectory, *, audited: bool = True) -> RunOutcome:
    """Reads and joins all rows of a run.

    Args:
        run: the run.
        audited: whether what an audit found counts; the audit itself looks without.

    Raises:
        StoreError: where ``run.json`` or a cell's record can't be read, or where cells disagree about which sample
            stands at a position. A damaged part file makes its cell an error instead.
    """
    record = run.read_run()
    found = _Found(run.read_audit() if audited else None)
    joined = Joined(run, record.cells, record.positions)
    positions = tuple(joined.positions.tolist())
    rows: dict[_Key, list[CellOutcome]] = {key: [] for key in _keys(record)}
    unplaced = []
    for cell in record.cells:
        result = run.read_cell(cell)
        place = _place(result) if result is not None else _guess(cell, record)
        if place is None:
            unplaced.append(cell)
        else:
            rows.setdefault(place.key, []).append(_outcome(cell, result, place, joined, found.of_cell(cell)))
    made = [
        _row(key, tuple(_told_apart(cells)), found.of_row(key, cells), placed=not unplaced)
        for key, cells in rows.items()
        if cells
    ]
    shown = [any(cell.role != "prerequisite" for cell in row.cells) for row in made]
    corrupted = read_corruptions(run, record, positions, found.of_cell)
    images = joined.sample_ids, joined.sample_digests
    return RunOutcome(
        record,
        len(joined.positions),
        tuple(row for row, there in zip(made, shown, strict=True) if there),
        tuple(unplaced),
        found.record,
        found.outdated(run, record.cells),
        *(images if record.cells else named_images(corrupted, len(positions))),
        positions,
        corrupted,
        tuple(row for row, there in zip(made, shown, strict=True) if not there),
    )


def address(threat_model: ThreatModelSpec) -> str:
    """How findings and probes name a threat model: ``norm:eps`` with the exact eps."""
    return f"{threat_model.norm}:{threat_model.eps}"


class _Found:
    """What the audit says, by cell and by row."""

    def __init__(self, record: AuditRecord | None) -> None:
        self.record = record
        self._findings = () if record is None else record.findings

    def of_cell(self, cell: str) -> tuple[Finding, ...]:
        """Findings that speak of this cell."""
        wanted = hash_of(cell)
        return tuple(one for one in self._findings if any(hash_of(other) == wanted for other in one.cells))

    def of_row(self, key: _Key, cells: Sequence[CellOutcome]) -> tuple[Finding, ...]:
        """Findings that speak of the row, of its table or of the run, and of no single cells; a row keeps its own by name, and
        by its cells where it has another name now.
        """
        own = {hash_of(cell.id) for cell in cells}
        return tuple(
            one
            for one in self._findings
            if not one.cells
            and one.threat_model in ("", address(key.threat_model))
            and (
                (one.model, one.defense) in (("", ""), (key.model, key.defense))
                or any(hash_of(cell) in own for cell in one.row)
            )
        )

    def outdated(self, run: RunDirectory, cells: Sequence[str]) -> int:
        """Cells whose record isn't the one that was audited, and those that the run doesn't have any more."""
        if self.record is None:
            return 0
        then = {hash_of(cell): digest for cell, digest in self.record.cells.items()}
        now = {hash_of(cell): cell_digest(run, cell) for cell in cells}
        return sum(then.get(one, "") != now.get(one, "") for one in {**then, **now})


def cell_digest(run: RunDirectory, cell: str) -> str:
    """sha256 of a cell's record on disk; empty where it isn't finished."""
    path = run.cell_path(cell)
    return "" if path is None else file_digest(path)


@dataclass(frozen=True, slots=True)
class _Key:
    threat_model: ThreatModelSpec
    model: str
    defense: str
    bare: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a cell belongs."""

    key: _Key
    role: Role
    attack: str
    seed: int
    source: str = ""


def _name(defense: DefenseSpec | AttackSpec) -> str:
    return defense.id or defense.name


def _key(threat_model: ThreatModelSpec, model: str, defense: DefenseSpec) -> _Key:
    bare = defense.name == "none"
    return _Key(threat_model, model, "none" if bare else _name(defense), bare)


def _keys(record: RunRecord) -> list[_Key]:
    """Every row that the suite could have, in its order."""
    suite = record.suite
    return [
        _key(threat_model, model.id, defense)
        for threat_model in suite.threat_models
        for model in suite.models
        for defense in suite.defenses
    ]


def _place(result: CellResult) -> _Place:
    key = _key(result.threat_model, result.model.id, result.defense)
    role: Role = result.role
    if role == "suite" and result.adversary == "oblivious" and not key.bare:
        role = "oblivious"
    if result.source is not None:
        return _Place(key, role, transferred(result.attack_id, result.source.id), result.seed, result.source.id)
    return _Place(key, role, result.attack_id, result.seed)


def transferred(attack: str, source: str) -> str:
    """What an attack is called whose examples were made against another model."""
    return f"{attack} from {source}"


def _guess(cell: str, record: RunRecord) -> _Place | None:
    """Where an unfinished cell belongs, by the readable prefix of its id; ``None`` where that doesn't tell."""
    slug = cell.rsplit("-", 1)[0]
    prefixes = _prefixes(record)
    alone = not any(slug.startswith(prefix + "-") for prefix, _ in prefixes)
    submitted, crossed = (alone and slug.startswith(f"{role}-") for role in ("submitted", "transfer"))
    slug = slug.partition("-")[2] if submitted or crossed else slug
    found = [(prefix, key) for prefix, key in prefixes if slug.startswith(prefix + "-")]
    if not found:
        return None
    prefix, key = max(found, key=lambda item: len(item[0]))
    rest = re.fullmatch(r"(.+?)(?:-(adaptive|naive|oblivious))?-s(\d+)", slug[len(prefix) + 1 :])
    if rest is None:
        return None
    names = {_slug(_name(attack)): _name(attack) for attack in record.suite.attacks}
    if submitted:
        return _Place(key, "submitted", rest[1], int(rest[3]))
    if crossed:
        return _crossing(
            key, rest[1], names, {_slug(model.id): model.id for model in record.suite.models}, int(rest[3])
        )
    role: Role = "suite"
    if rest[2] in ("oblivious", "naive") and not key.bare:
        role = "oblivious" if rest[2] == "oblivious" else "naive"
    elif rest[1] not in names and not rest[1].startswith(ADAM):
        role = "prerequisite" if key.bare else "gradient_free"
    return _Place(key, role, names.get(rest[1], rest[1]), int(rest[3]))


def _crossing(key: _Key, slug: str, attacks: Mapping[str, str], models: Mapping[str, str], seed: int) -> _Place | None:
    """The place of an unfinished transfer cell: ``<attack>-from-<model>``."""
    for attack, name in attacks.items():
        source = models.get(slug.removeprefix(f"{attack}-from-"))
        if slug.startswith(f"{attack}-from-") and source is not None:
            return _Place(key, "transfer", transferred(name, source), seed, source)
    return None


def _prefixes(record: RunRecord) -> list[tuple[str, _Key]]:
    """The slug that the cells of each row begin with; the bare rows too, to which prerequisites belong."""
    suite, prefixes = record.suite, []
    bare = () if any(defense.name == "none" for defense in suite.defenses) else (DefenseSpec(name="none"),)
    for threat_model in suite.threat_models:
        for model in suite.models:
            for defense in (*suite.defenses, *bare):
                probe = Cell(
                    "suite", suite.dataset, model, defense, threat_model, AttackSpec(name="x"), "adaptive", 0,
                    "first_success", "float32",
                )  # fmt: skip
                tail = "-x-s0" if defense.name == "none" else "-x-adaptive-s0"
                prefixes.append((probe.slug.removesuffix(tail), _key(threat_model, model.id, defense)))
    return prefixes


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.=-]+", "-", name).lower()


def _outcome(
    cell: str, result: CellResult | None, place: _Place, joined: Joined, findings: tuple[Finding, ...]
) -> CellOutcome:
    status: OutcomeStatus
    samples = joined.samples(cell)
    rows, n = int(samples.known.sum()), len(samples.known)
    if result is None:
        status, reason = "missing", f"not finished ({rows:,} of {n:,} samples); run the suite again to finish it"
    elif result.status != "done":
        status, reason = result.status, result.reason or "no reason was recorded"
    elif samples.damage:
        status, reason = "error", samples.damage
    elif place.role == "submitted":  # it says nothing of samples that the suite has only asked for since
        lost = result.samples - joined.count(cell)
        status, reason = (
            ("partial", f"{lost:,} of its records are gone; submit the file again") if lost > 0 else ("done", "")
        )
    elif rows < n:
        status, reason = "partial", f"{n - rows:,} of {n:,} samples have no record; run the suite again"
    else:
        status, reason = "done", ""
    return CellOutcome(
        cell, place.role, place.attack, place.seed, result, status, reason, samples, findings, place.source
    )


def _told_apart(cells: list[CellOutcome]) -> list[CellOutcome]:
    """An unfinished cell beside a finished one of the same attack and seed is the prerequisite, not the suite's own."""
    finished = {(cell.attack, cell.seed) for cell in cells if cell.role == "suite" and cell.status != "missing"}
    return [
        replace(cell, role="prerequisite")
        if cell.status == "missing" and cell.role == "suite" and (cell.attack, cell.seed) in finished
        else cell
        for cell in cells
    ]


def _row(key: _Key, cells: tuple[CellOutcome, ...], findings: tuple[Finding, ...], *, placed: bool) -> RowOutcome:
    sound = all(cell.valid for cell in cells) and all(finding.severity != "invalid" for finding in findings)
    return RowOutcome(key.model, key.defense, key.bare, key.threat_model, cells, placed and sound, findings)
