"""Takes examples that a person made against one row of a run into that row's worst case: the harness judges them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import ValidationError

from bench import threat_models
from bench.attacks.base import AttackResult, Samples
from bench.attacks.draws import Draws, global_seed
from bench.errors import SubmissionError
from bench.runner import aggregate
from bench.runner.beside import beside_the_bare
from bench.runner.devices import choose, describe, peak_memory, watch_memory
from bench.runner.evaluate import kept_examples, sample_records
from bench.runner.judge import exact_arithmetic, judge
from bench.runner.pending import pending_shards
from bench.runner.preflight import Plan, PlannedCell, preflight
from bench.runner.provenance import environment
from bench.runner.shards import Shard, ShardOutcome
from bench.runner.submission_file import Submitted, read_submitted
from bench.runner.submitted import NAME, rows_of, submitted_cell
from bench.runner.unchanged import refuse_changed
from bench.runner.worker import Worker
from bench.store.cell_outcome import unbroken
from bench.store.outcomes import RowOutcome, read_outcomes
from bench.store.parts import ShardReport
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.loaded import LoadedSuite
from bench.suites.places import Places
from bench.suites.spec import AttackSpec, ThreatModelSpec, format_eps


class Wanted(NamedTuple):
    """Which row the examples were made against; what isn't given must not be needed to tell."""

    model: str | None = None
    defense: str | None = None
    threat_model: str | None = None
    """norm and radius, such as ``linf:8/255``"""


@dataclass(frozen=True, slots=True)
class Submission:
    """What came of it.

    Attributes:
        directory: the run's directory.
        row: the row, for people.
        author: who submitted.
        submitted: examples in the file.
        inside: those inside the threat model; the others are no success.
        successes: verified successes on images that are right when clean.
        alone: successes on images that nothing else in the row has broken.
        before: the row's worst case without the examples, as a share; ``None`` where nothing else is known of it.
        after: the same with them.
        complete: whether everything in the row is finished; where not, both are upper bounds by what is.
        again: whether the same file had been submitted before, so that nothing changes.
    """

    directory: Path
    row: str
    author: str
    submitted: int
    inside: int
    successes: int
    alone: int
    before: float | None
    after: float
    complete: bool
    again: bool


def submit(
    run: Path,
    file: Path,
    author: str,
    wanted: Wanted | None = None,
    *,
    message: str = "",
    places: Places | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Submission:
    """Judges examples as the examples of an attack are judged, and records them in the run.

    Args:
        run: the run's directory.
        file: the examples; see :func:`bench.runner.submission_file.read_submitted`.
        author: who made them, as the tables are to say.
        wanted: which row they were made against.
        message: what the tables are to say of them.
        places: directories and permissions.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: the most samples of a pass; found by itself where it is ``None``.
        note: told of what may take long.

    Raises:
        SubmissionError: where the examples can't be judged, or the row isn't what it was when it was run.
        StoreError: where there is no run, or another process is writing into it.
    """
    directory, places = RunDirectory.open(run), places or Places()
    name = _slug(author)
    with directory.locked():
        record = directory.read_run()
        plugins = tuple(Path(plugin) for plugin in record.suite.plugins)
        loaded = LoadedSuite(record.suite, directory.path / "run.json", plugins=plugins)
        plan = preflight(loaded, places, note, recorded=True)
        row = _chosen(plan, wanted or Wanted())
        if row.unavailable or row.broken:
            raise SubmissionError(f"the row can't be judged here: {row.unavailable or row.broken}")
        refuse_changed(directory, record, plan, row)
        examples = read_submitted(file, plan.dataset)
        args = {"author": " ".join(author.split()), "digest": examples.digest, "note": " ".join(message.split())}
        attack = AttackSpec(id=name, name=NAME, args=args)
        planned = submitted_cell(plan, row, attack, record.suite.run.seeds[0])
        old = directory.read_cell(planned.id)
        if old is not None:  # whoever submits a file once more, it stays what it was
            planned = submitted_cell(plan, row, old.attack, old.seed)
        shards = pending_shards(plan, planned, directory)
        again = not shards and old is not None and old.status == "done"
        if not again:
            chosen = choose(device)
            worker = Worker(plan.dataset, places, chosen, batch_size, calibration=plan.calibration)
            for shard in shards:
                judged = _judged(worker, shard, examples)
                directory.write_shard(shard.cell_id, shard.index, judged.records, judged.report, judged.examples)
            rows, reports = directory.read_part_frames(planned.id)
            result = aggregate.finished(plan, planned, rows, reports, environment(chosen))
            directory.write_cell(aggregate.sealed(result, directory.seals(planned.id)))
        if planned.id not in record.cells:
            others = (cell for cell in record.cells if hash_of(cell) != hash_of(planned.id))
            directory.write_run(record.model_copy(update={"cells": (*others, planned.id)}))
    return _outcome(directory, plan, planned, examples, again=again)


def _slug(author: str) -> str:
    """The author's name as an id."""
    name = re.sub(r"[^A-Za-z0-9_.+=-]+", "-", author).strip("-_.+=")[:100]
    if not name:
        raise SubmissionError(f"--author: a name with letters or digits in it is needed, got {author!r}")
    return name


def _chosen(plan: Plan, wanted: Wanted) -> PlannedCell:
    """A cell of the one row that is meant."""
    ball = None
    if wanted.threat_model is not None:
        try:
            ball = ThreatModelSpec.model_validate(wanted.threat_model)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise SubmissionError(f"--threat-model: {reason}") from error
    rows = list(rows_of(plan).values())
    found = [
        row
        for row in rows
        if wanted.model in (None, row.cell.model.id)
        and wanted.defense in (None, row.cell.defense_id)
        and ball in (None, row.cell.threat_model)
    ]
    if len(found) == 1:
        return found[0]
    what = "no row of the run is meant" if not found else f"{len(found)} rows could be meant"
    there = "; ".join(
        f"--model {cell.model.id} --defense {cell.defense_id} "
        f"--threat-model {cell.threat_model.norm}:{format_eps(cell.threat_model.eps)}"
        for cell in (row.cell for row in found or rows)
    )
    raise SubmissionError(f"{what} (accepted: {there})")


def _judged(worker: Worker, shard: Shard, examples: Submitted) -> ShardOutcome:
    """One shard: the submitted points, and the clean image of every sample that has none."""
    started = time.perf_counter()
    watch_memory(worker.device)
    cell, members = shard.cell, shard.members
    ids = tuple(worker.dataset.sample_ids[place] for place in members)
    where = {int(place): number for number, place in enumerate(examples.places)}
    rows = [row for row, place in enumerate(members) if place in where]
    with exact_arithmetic(), global_seed(Draws(cell.seed, NAME, "global").chunk_seed(ids)):
        target = worker.target(cell)
        batch = worker.dataset.batch(np.asarray(members, dtype=np.int64))
        x, y = batch.x.to(worker.device), batch.y.to(worker.device)
        clean = worker.clean(cell, members, x, y)
        found = AttackResult.untouched(Samples(x, y, ids))
        points = examples.x_adv[[where[members[row]] for row in rows]]
        found.x_adv[rows] = torch.from_numpy(points).to(x)
        found.iterations[rows] = -1
        with worker.guarded(cell):
            verdict = judge(
                target,
                x,
                y,
                found.x_adv,
                threat_model=threat_models.build(cell.threat_model.norm, cell.threat_model.eps),
                minimum_norm=True,
                batch_size=worker.batch_size,
                sample_ids=ids,
                scoring=worker.scoring(cell, ids),
            )
            beside = beside_the_bare(worker, cell, members, x, y, verdict.x_adv)
        records = sample_records(worker, shard, ids, batch.x, batch.y, clean, found, verdict, beside.columns)
    report = ShardReport(
        samples=len(records),
        seconds=time.perf_counter() - started,
        peak_memory=peak_memory(worker.device),
        device=describe(worker.device),
        batch_size=worker.batch_size,
        flags=worker.flags(cell),
        unbroken=sum(record.robust for record in records),
        purify_seconds=beside.seconds,
    )
    return ShardOutcome(records, report, kept_examples(shard, ids, records, verdict))


def _outcome(
    directory: RunDirectory, plan: Plan, planned: PlannedCell, examples: Submitted, *, again: bool
) -> Submission:
    cell = planned.cell
    ball = threat_models.build(cell.threat_model.norm, cell.threat_model.eps)
    inside = ball.contains(torch.from_numpy(examples.x_adv), plan.dataset.batch(examples.places).x)
    row = _row(directory, planned)
    own = tuple(one for one in row.cells if one.id == planned.id)
    others = replace(row, cells=tuple(one for one in row.cells if one.id != planned.id))
    broken = row.clean_correct & ~unbroken(own)
    known = bool(others.cells) and bool(others.known.any())
    return Submission(
        directory.path,
        f"{row.label} under {row.threat_model.label}",
        cell.attack.args["author"],
        len(examples.places),
        int(inside.sum()),
        int(broken.sum()),
        int((broken & others.worst).sum()) if known else int(broken.sum()),
        float(others.worst_correctness.mean()) if known else None,
        float(row.worst_correctness.mean()),
        row.complete,
        again,
    )


def _row(directory: RunDirectory, planned: PlannedCell) -> RowOutcome:
    cell = planned.cell
    return next(
        row
        for row in read_outcomes(directory).rows
        if (row.model, row.defense, row.threat_model) == (cell.model.id, cell.defense_id, cell.threat_model)
    )
