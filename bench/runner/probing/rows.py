"""Runs the probes of every row of a run, each saved as its row is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from bench.attacks.listener import nobody
from bench.audit.evidence import kind
from bench.errors import StoreError
from bench.runner.evaluate import evaluate
from bench.runner.events import Progress
from bench.runner.preflight import Plan, PlannedCell
from bench.runner.probing import control, gradients, points, variants
from bench.runner.shards import Shard
from bench.runner.worker import Worker
from bench.store.outcomes import RowOutcome, RunOutcome, address
from bench.store.probes import ProbeResult, RowProbes
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.cells import Cell, digest
from bench.suites.declared import declared
from bench.suites.expand import NONE
from bench.suites.spec import AttackSpec, ThreatModelSpec

REVISION = 2
"""Raised when the probes' results can change."""
STOCHASTIC = 32
"""Samples of the subset for a stochastic row, whose every pass costs many."""
SOURCES = 8
"""Other models, the first of the suite, whose examples are tried on a row."""


@dataclass(frozen=True, slots=True)
class ProbedRow:
    """A row that can be probed.

    Attributes:
        outcome: what its cells say.
        base: its strongest white-box cell.
        members: places of the subset's samples.
        sources: ids of the models whose examples are tried on it, with the digests of their weights.
        key: hash of all that can change a result.
    """

    outcome: RowOutcome
    base: PlannedCell
    members: tuple[int, ...]
    sources: tuple[tuple[str, str], ...]
    key: str

    @property
    def slug(self) -> str:
        """The readable prefix of the file's name."""
        return self.base.cell.slug


def large_radius(norm: str, shape: tuple[int, int, int]) -> Fraction:
    """A radius at which a grey image lies inside every ball: Linf 1/2 or the norm's equivalent.

    Args:
        norm: linf, l2 or l1.
        shape: (C, H, W).
    """
    size = int(np.prod(shape))
    if norm == "linf":
        return Fraction(1, 2)
    if norm == "l1":
        return Fraction(size, 2)
    return Fraction(int(np.ceil(50 * np.sqrt(size))), 100)


def to_probe(plan: Plan, outcome: RunOutcome) -> tuple[list[ProbedRow], dict[tuple[str, str, str], str]]:
    """The rows that can be probed, and why the others can't, by model, defense and threat model.

    Args:
        plan: the suite.
        outcome: the run, without what an audit found.
    """
    size = plan.suite.audit.samples
    found, without = [], {}
    planned = {hash_of(one.id): one for one in plan.cells}
    for row in outcome.rows:
        place = (row.model, row.defense, address(row.threat_model))
        best = variants.strongest(row)
        base = planned.get(hash_of(best.id)) if best is not None else None
        if size == 0:
            without[place] = "the probes are switched off (audit.samples: 0)"
        elif best is None:
            without[place] = "no white-box attack of the suite is finished on this row"
        elif base is None or base.unavailable or base.broken:
            reason = "" if base is None else base.unavailable or base.broken
            without[place] = reason or "its cells aren't those that the suite has here now"
        elif not row.worst_correctness.any():
            without[place] = "every image is broken already: no stronger attack could change the number"
        else:
            found.append(_probed(plan, row, base, size))
    return found, without


def _probed(plan: Plan, row: RowOutcome, base: PlannedCell, size: int) -> ProbedRow:
    most = min(size, STOCHASTIC) if declared(base.cell.defense).stochastic else size
    members = tuple(range(min(most, len(plan.dataset))))
    sources = dict[str, str]()
    for one in plan.cells:
        if one.located is not None and not one.broken and (one.cell.model.id != row.model or not row.bare):
            sources.setdefault(one.cell.model.id, one.located.weights_digest)
    kept = tuple(sorted(sources.items(), key=lambda item: item[0] != row.model))[:SOURCES]
    key = digest(
        {
            "revision": REVISION,
            "cells": sorted(hash_of(cell.id) for cell in row.cells if cell.role in ("suite", "gradient_free")),
            "samples": [plan.dataset.sample_ids[place] for place in members],
            "base": hash_of(base.id),
            "queries": plan.suite.audit.queries,
            "sources": kept,
        }
    )
    return ProbedRow(row, base, members, kept, key)


def probe(plan: Plan, rows: Sequence[ProbedRow], directory: RunDirectory, worker: Worker, progress: Progress) -> None:
    """Probes what isn't probed yet.

    Args:
        plan: the suite.
        rows: as :func:`to_probe` finds them.
        directory: where the results go.
        worker: holds the dataset.
        progress: hears of every row.
    """
    pending = [row for row in rows if known(directory, row) is None]
    if not pending:
        return
    examples = _sources(plan, pending, worker, progress)
    controls = _Controls(plan, worker)
    for number, row in enumerate(sorted(pending, key=lambda one: one.base.cell.model.id), start=1):
        label = f"{row.outcome.label} | {row.outcome.threat_model.label}"
        progress.note(f"audit: probing row {number} of {len(pending)}, {label}, on {len(row.members)} images")
        directory.write_probes(row.slug, _Row(plan, row, worker, examples).result(controls.of(row)))


def known(directory: RunDirectory, row: ProbedRow) -> RowProbes | None:
    """What the probes of a row saw; ``None`` where they haven't run, or their file is damaged."""
    try:
        return directory.read_probes(row.key)
    except StoreError:
        return None


Examples = dict[tuple[str, ThreatModelSpec], Tensor]
"""By model and threat model the examples made against the bare model, shape (N, C, H, W), on the CPU."""


def _sources(plan: Plan, rows: Sequence[ProbedRow], worker: Worker, progress: Progress) -> Examples:
    """Makes the examples that will be tried on other rows."""
    wanted: dict[tuple[str, ThreatModelSpec], tuple[int, ...]] = {}
    for row in rows:
        for model, _ in row.sources:
            place = (model, row.outcome.threat_model)
            wanted[place] = max(wanted.get(place, ()), row.members, key=len)
    made: Examples = {}
    for (model, threat_model), members in sorted(wanted.items(), key=lambda item: item[0][0]):
        base = next(one for one in plan.cells if one.cell.model.id == model)
        cell = replace(
            base.cell, defense=NONE, role="suite", adversary="adaptive", threat_model=threat_model,
            attack=variants.source(threat_model.norm), search="strongest",
        )  # fmt: skip
        progress.note(f"audit: making examples of {model} under {threat_model.label} for other rows")
        try:
            outcome = evaluate(worker, Shard(cell, "probe", 0, members, "all"), nobody)
        except (Exception, SystemExit):  # noqa: BLE001 (without its examples; the rows say so)
            continue
        if outcome.examples is not None:
            made[model, threat_model] = torch.from_numpy(outcome.examples.images)
    return made


class _Controls:
    """What each attack breaks of the linear control, once for each attack and threat model."""

    def __init__(self, plan: Plan, worker: Worker) -> None:
        self._plan, self._places, self._device = plan, worker.places, worker.device
        self._models: dict[tuple[ThreatModelSpec, tuple[int, ...]], control.Control] = {}
        self._known: dict[str, ProbeResult] = {}

    def of(self, row: ProbedRow) -> dict[str, ProbeResult]:
        """By the attacks' names, those of a row of white-box attacks and ensembles."""
        hashes = {hash_of(cell.id) for cell in row.outcome.of("suite") if kind(cell) != "score"}
        found = dict[str, ProbeResult]()
        for planned in self._plan.cells:
            if hash_of(planned.id) in hashes and planned.cell.attack_id not in found:
                found[planned.cell.attack_id] = self._tried(planned.cell, row.members)
        return found

    def _tried(self, cell: Cell, members: tuple[int, ...]) -> ProbeResult:
        name = digest([cell.attack.model_dump(mode="json"), address(cell.threat_model), cell.seed, len(members)])
        if name not in self._known:
            self._known[name] = _attempt(
                f"control:{cell.attack_id}", cell.attack, cell.threat_model.eps, lambda: self._run(cell, members)
            )
        return self._known[name]

    def _run(self, cell: Cell, members: tuple[int, ...]) -> ProbeResult:
        place = (cell.threat_model, members)
        if place not in self._models:
            self._models[place] = control.linear(self._plan.dataset, control.ball_of(cell), members)
        return control.tried(self._models[place], cell, self._places, self._device)


class _Row:
    """The probes of one row."""

    def __init__(self, plan: Plan, row: ProbedRow, worker: Worker, examples: Examples) -> None:
        self._plan, self._row, self._worker, self._examples = plan, row, worker, examples
        self._cell, self._members = row.base.cell, row.members

    def result(self, controls: dict[str, ProbeResult]) -> RowProbes:
        """Runs them all; what fails says so in its own place."""
        outcome = self._row.outcome
        found = {result.name: result for result in self._probes()}
        looked, failed = None, ""
        try:
            looked = gradients.look(self._worker, self._cell, self._members)
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the probe's edge)
            failed = f"gradients: {_reason(error)}"
        return RowProbes(
            key=self._row.key,
            model=outcome.model,
            defense=outcome.defense,
            threat_model=address(outcome.threat_model),
            positions=tuple(int(self._plan.dataset.positions[place]) for place in self._members),
            clean_correct=self._clean_correct(),
            probes=found,
            gradients=looked,
            controls=controls,
            strongest=self._cell.attack_id,
            failed=failed,
        )

    def _clean_correct(self) -> tuple[bool, ...]:
        dataset, correct = self._plan.dataset, self._row.outcome.clean_correct
        places = np.searchsorted(np.sort(dataset.positions), dataset.positions[list(self._members)])
        return tuple(correct[places].tolist())

    def _probes(self) -> Iterator[ProbeResult]:
        cell = self._cell
        norm, eps = cell.threat_model.norm, cell.threat_model.eps
        varied = variants.variants(cell.attack, norm, float(eps))
        yield self._points("noise", lambda: points.broken_by_noise(self._worker, cell, self._members))
        for model, _ in self._row.sources:
            yield self._points(f"transfer:{model}", lambda model=model: self._transferred(model))  # type: ignore[misc]
        for name, attack, radius in (
            ("single-step", variants.single_step(norm), eps),
            ("growth:1/2", varied.growth, eps / 2),
            ("growth:1", varied.growth, eps),
            ("growth:2", varied.growth, 2 * eps),
            ("large-eps", varied.large_eps, large_radius(norm, self._plan.dataset.shape)),
            ("more-steps", varied.more_steps, eps),
            ("more-restarts", varied.more_restarts, eps),
            ("gradient-free", self._gradient_free(), eps),
        ):
            if attack is not None:
                yield self._attacked(name, attack, radius)

    def _gradient_free(self) -> AttackSpec | None:
        """Square; ``None`` where the row has a cell with as many queries already."""
        queries = self._plan.suite.audit.queries
        for cell in (*self._row.outcome.of("suite"), *self._row.outcome.of("gradient_free")):
            own = cell.result.attack if cell.result is not None and cell.status == "done" else None
            if own is not None and own.name == "square" and int(own.args.get("n_queries", 0)) >= queries:
                return None
        return variants.gradient_free(self._cell.threat_model.norm, queries)

    def _attacked(self, name: str, attack: AttackSpec, eps: Fraction) -> ProbeResult:
        cell = replace(
            self._cell, attack=attack, role="suite", search="first_success",
            threat_model=self._cell.threat_model.model_copy(update={"eps": eps}),
        )  # fmt: skip

        def run() -> ProbeResult:
            started = time.perf_counter()
            outcome = evaluate(self._worker, Shard(cell, "probe", 0, self._members, "none"), nobody)
            return ProbeResult(
                name=name,
                attack=attack,
                eps=str(eps),
                broken=tuple(record.success for record in outcome.records),
                seconds=time.perf_counter() - started,
            )

        return _attempt(name, attack, eps, run)

    def _points(self, name: str, judged: Callable[[], Tensor]) -> ProbeResult:
        def run() -> ProbeResult:
            started = time.perf_counter()
            broken = tuple(judged().tolist())
            return ProbeResult(
                name=name, eps=str(self._cell.threat_model.eps), broken=broken, seconds=time.perf_counter() - started
            )

        return _attempt(name, None, self._cell.threat_model.eps, run)

    def _transferred(self, model: str) -> Tensor:
        examples = self._examples.get((model, self._cell.threat_model))
        if examples is None:
            raise RuntimeError(f"no examples of {model} could be made")
        return points.broken_by(self._worker, self._cell, self._members, examples[: len(self._members)])


def _attempt(name: str, attack: AttackSpec | None, eps: Fraction, run: Callable[[], ProbeResult]) -> ProbeResult:
    """What a probe found, or why it found nothing."""
    try:
        return run()
    except (Exception, SystemExit) as error:  # noqa: BLE001 (the probe's edge: it can't be checked, and says so)
        return ProbeResult(name=name, attack=attack, eps=str(eps), failed=_reason(error))


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().split("\n")[0]
