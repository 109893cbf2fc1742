"""Evaluates one shard of one cell: attack, judge, record."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench import registry, threat_models
from bench.attacks.base import Attack, AttackContext, AttackResult, Samples
from bench.attacks.draws import Draws, global_seed
from bench.attacks.listener import Listener
from bench.attacks.time_limit import time_limit
from bench.datasets.base import image_digest
from bench.errors import AttackError
from bench.runner.beside import Beside, beside_the_bare
from bench.runner.carried import Carried, judged_again
from bench.runner.certificates import certified, holds
from bench.runner.claims import keep_its_word
from bench.runner.devices import describe, peak_memory, search_precision, watch_memory
from bench.runner.facts import attack_of
from bench.runner.judge import Prediction, Verdict, exact_arithmetic, judge
from bench.runner.probe import RANDOM
from bench.runner.shards import Shard, ShardOutcome
from bench.runner.watch import Tried, believes_itself, watching
from bench.runner.worker import Worker
from bench.store.gallery import IMAGES
from bench.store.parts import Examples, ShardReport, join_precisions
from bench.store.records import Flag, SampleRecord
from bench.suites.cells import Cell
from bench.suites.references import members
from bench.threat_models.base import ThreatModel


def evaluate(worker: Worker, shard: Shard, report: Listener) -> ShardOutcome:
    """Evaluates one shard.

    Args:
        worker: holds the dataset and the model.
        shard: what to evaluate.
        report: called with (samples finished, samples still robust) inside the attack.

    Raises:
        BenchError: where the model or the attack broke its contract.
    """
    started = time.perf_counter()
    watch_memory(worker.device)
    cell = shard.cell
    ids = tuple(worker.dataset.sample_ids[index] for index in shard.members)
    # What draws from the global generators in spite of all (a plugin, a random model) draws the same when resumed.
    with exact_arithmetic(), global_seed(Draws(cell.seed, cell.attack.name, "global").chunk_seed(ids)):
        target, attacked = worker.target(cell), worker.attacked(cell)
        batch = worker.dataset.batch(np.asarray(shard.members, dtype=np.int64))
        x, y = batch.x.to(worker.device), batch.y.to(worker.device)
        clean = worker.clean(cell, shard.members, x, y)
        correct, scoring = clean.correct, worker.scoring(cell, ids)
        threat_model = threat_models.build(cell.threat_model.norm, cell.threat_model.eps)
        attack = attack_of(cell)

        def judged(points: Tensor, rows: Tensor) -> Verdict:
            here = rows.to(x.device)
            return judge(
                target,
                x[here],
                y[here],
                points,
                threat_model=threat_model,
                minimum_norm=attack.minimum_norm,
                batch_size=worker.batch_size,
                sample_ids=tuple(ids[row] for row in rows.tolist()),
                # Examples of another cell were kept inside eps: they have no minimal distances.
                clean_correct=None if cell.transferred else correct[rows],
                scoring=None if scoring is None else scoring.take(rows),
            )

        carried, tried = Carried.nothing(len(ids)), Tried.nothing(x)
        with worker.guarded(cell):
            if cell.transferred:
                found = _transferred(shard, ids, x)
            else:
                carried = judged_again(judged, shard.examples, x, y, ids, correct, threat_model)
                left = correct & ~carried.rows
                found, tried = _attacked(worker, attacked, attack, cell, Samples(x, y, ids), left, threat_model, report)
            verdict = carried.with_rest(found, judged)
            if _same_for_both(worker, cell, target, attacked):
                keep_its_word(
                    target,
                    Samples(x, y, ids),
                    found,
                    verdict,
                    correct,
                    threat_model=threat_model,
                    batch_size=worker.batch_size,
                )
            beside = beside_the_bare(worker, cell, shard.members, x, y, verdict.x_adv)
            if cell.role == "certificate":
                beside.columns.update(certified(worker, cell, x, ids))
        records = sample_records(worker, shard, ids, batch.x, batch.y, clean, found, verdict, beside.columns)
        robust = torch.tensor([record.robust for record in records], dtype=torch.bool)
        silent = tried.lost(robust, verdict, judged)
    cost = _report(worker, cell, attack, found, records, time.perf_counter() - started)
    cost = cost.model_copy(update={"purify_seconds": beside.seconds, "silent": silent})
    examples = kept_examples(shard, ids, records, verdict)
    return ShardOutcome(records, cost, examples, _pictures(shard, ids, records, beside))


def _same_for_both(worker: Worker, cell: Cell, target: Any, attacked: Any) -> bool:  # Any: counted or defended models
    """Whether the attacker sees the logits that the judge sees: only then it can be held to its word."""
    random = target.stochastic or any(flag.rule == RANDOM for flag in worker.flags(cell))
    return not (random or attacked.approximate or cell.adversary == "naive")


def _report(
    worker: Worker, cell: Cell, attack: Attack, found: AttackResult, records: list[SampleRecord], seconds: float
) -> ShardReport:
    return ShardReport(
        samples=len(records),
        seconds=seconds,
        peak_memory=peak_memory(worker.device),
        forwards=float(found.forwards.sum()),
        backwards=float(found.backwards.sum()),
        device=describe(worker.device),
        batch_size=worker.batch_size,
        precision=_precision(worker, cell, attack),
        stages=found.stages,
        flags=(*worker.flags(cell), *found.flags, *_no_gradient(cell, found)),
        zero_gradient=_stuck(found, records),
        unbroken=sum(record.robust for record in records),
        eot_agreement=_agreement(found),
    )


def _agreement(found: AttackResult) -> float | None:
    """How much the halves of a stochastic defense's draws agree on a gradient, over the samples that were attacked."""
    if found.eot_agreement is None:
        return None
    known = found.eot_agreement[~torch.isnan(found.eot_agreement)]
    return float(known.mean()) if len(known) else None


def _precision(worker: Worker, cell: Cell, attack: Attack) -> str:
    """Of the search: libraries know float32 only, and some attacks, and stages of an ensemble, need it, or nearly."""
    return join_precisions(attack.precisions(search_precision(cell.precision, worker.device), worker.device))


class _Attacked(NamedTuple):
    result: AttackResult
    tried: Tried


def _attacked(
    worker: Worker,
    target: Any,  # Any: a counted or defended model
    attack: Attack,
    cell: Cell,
    samples: Samples,
    left: Tensor,
    threat_model: ThreatModel,
    report: Listener,
) -> _Attacked:
    """Runs the attack on the samples that are left; on all of them where its examples are meant to be reused."""
    chosen = torch.arange(len(samples)) if cell.search == "strongest" else left.nonzero().flatten()
    draws = Draws(cell.seed, cell.attack.name)
    asked = search_precision(cell.precision, worker.device)
    alone = attack.precisions(asked, worker.device)
    context = AttackContext(
        threat_model,
        draws,
        cell.search,
        worker.search_batch_size(attack),
        report,
        precision=alone[0] if len(alone) == 1 else asked,  # the stages of an ensemble choose theirs themselves
        pinned=worker.pinned,
        compiled=worker.compiles_for(attack),
        graphed=worker.graphs_for(attack),
        fill=worker.device.type == "cuda" and not worker.pinned,
        eot_iter=cell.defense.eot_iter or 1,
    )
    if target.rejects and not attack.joint:
        raise AttackError(
            f"{cell.attack_id} can't attack a detector together with its classifier: it doesn't declare that a rejected point "
            "is no success to it (joint)"
        )
    target.microbatch = None
    places = chosen.to(samples.x.device)
    # Of a random model that doesn't say so, another draw of the point that was returned would be a success that got lost.
    watched = believes_itself(cell, attack) and not any(flag.rule == RANDOM for flag in worker.flags(cell))
    watch = watching(target, samples.take(places), threat_model) if watched else nullcontext()
    limit = None if cell.attack.time_limit is None or not len(chosen) else cell.attack.time_limit * len(chosen)
    # An attack that switches gradients off must not weaken the next one.
    with torch.enable_grad(), watch as seen, time_limit(limit, cell.attack_id):
        here = attack.run(target, samples.take(places), context)
    if not isinstance(here, AttackResult):
        raise AttackError(f"the attack returned {type(here).__name__} (accepted: an AttackResult)")
    result = AttackResult.untouched(samples)
    if here.x_adv.shape != samples.x[chosen].shape:
        raise AttackError(f"the attack returned shape {tuple(here.x_adv.shape)} for {len(chosen)} samples")
    result.x_adv = result.x_adv.to(here.x_adv.dtype)
    result.x_adv[chosen.to(samples.x.device)] = here.x_adv.detach().to(samples.x.device)
    result.iterations[chosen] = here.iterations.cpu()
    # Libraries count passes; our own attacks count questions, each of which every member of an ensemble answers.
    networks = 1 if attack.chunked else 1 + len(members(cell.defense))
    result.forwards[chosen] = networks * here.forwards.cpu()
    result.backwards[chosen] = networks * here.backwards.cpu()
    for place, stage in zip(chosen.tolist(), here.stage, strict=True):
        result.stage[place] = stage
    result.stages, result.flags = here.stages, here.flags
    told = here.queries if here.queries is not None else _own_queries(cell, attack, here)
    if told is not None:
        result.queries = torch.zeros(len(samples), dtype=torch.int64)
        result.queries[chosen] = told.cpu()
    if here.claimed is not None:
        result.claimed = torch.zeros(len(samples), dtype=torch.bool)
        result.claimed[chosen] = here.claimed.cpu()
    if here.zero_gradient is not None:
        result.zero_gradient = torch.zeros(len(samples), dtype=torch.bool)
        result.zero_gradient[chosen] = here.zero_gradient.cpu()
    result.eot_agreement = here.eot_agreement
    tried = Tried.nothing(samples.x) if seen is None else seen.tried
    return _Attacked(result, tried._replace(rows=chosen[tried.rows]))


def _own_queries(cell: Cell, attack: Attack, found: AttackResult) -> Tensor | None:
    """Of a score-based attack of our own, which stops at the first success: the passes that it took."""
    kind = registry.attacks.entry(cell.attack.name).facts.get("kind") if cell.role != "certificate" else None
    if kind not in ("score", "decision") or attack.chunked or cell.search != "first_success":
        return None
    return found.forwards.round().long()


def _queries(found: AttackResult, success: Tensor) -> Tensor:
    """The query that broke each sample: all that were spent where the point that was returned had never been asked about.

    What a smaller eps had broken took none here.
    """
    unknown = torch.full((len(success),), -1)
    if found.queries is None:
        return unknown
    spent = torch.where(found.forwards > 0, found.forwards.ceil().long(), unknown)
    return torch.where(success, torch.where(found.queries > 0, found.queries, spent), 0)


def _stuck(found: AttackResult, records: list[SampleRecord]) -> int:
    """Samples that are robust only because every gradient was zero, as far as the attack can tell."""
    if found.zero_gradient is None:
        return 0
    return sum(record.robust and zero for record, zero in zip(records, found.zero_gradient.tolist(), strict=True))


def _no_gradient(cell: Cell, found: AttackResult) -> tuple[Flag, ...]:
    """A white-box attack that never took a gradient attacked nothing."""
    if cell.role == "certificate":
        return ()
    kind = registry.attacks.entry(cell.attack.name).facts.get("kind")
    if kind != "white-box" or float(found.forwards.sum()) == 0 or float(found.backwards.sum()) > 0:
        return ()
    text = f"{cell.attack_id} made no backward pass: its number says nothing"
    return (
        Flag(rule="no-backward-pass", severity="invalid", message=text, source="Carlini et al. 2019, arXiv:1902.06705"),
    )


def _transferred(shard: Shard, ids: tuple[str, ...], x: Tensor) -> AttackResult:
    """The examples that were made against a bare model, every one of them."""
    if shard.examples is None:
        raise AttackError("the examples of the bare model are missing")
    places = {sample: place for place, sample in enumerate(shard.examples.sample_ids)}
    missing = [sample for sample in ids if sample not in places]
    if missing:
        raise AttackError(f"the examples of {len(missing)} samples are missing on disk, first {missing[0]}")
    images = shard.examples.images[[places[sample] for sample in ids]]
    n = len(ids)
    zeros = torch.zeros(n, dtype=torch.float64)
    return AttackResult(
        torch.from_numpy(np.ascontiguousarray(images)).to(x.device),
        torch.zeros(n, dtype=torch.int64),
        zeros,
        zeros.clone(),
        [""] * n,
    )


def sample_records(
    worker: Worker,
    shard: Shard,
    ids: tuple[str, ...],
    x: Tensor,
    y: Tensor,
    clean: Prediction,
    found: AttackResult,
    verdict: Verdict,
    beside: dict[str, Tensor],
) -> list[SampleRecord]:
    """One record per sample of a shard.

    Args:
        worker: holds the dataset.
        shard: which samples.
        ids: their N ids.
        x: clean images, shape (N, C, H, W), on the CPU.
        y: labels, shape (N,).
        clean: predictions on the clean images.
        found: what was judged, and what it cost.
        verdict: what the judge said of it.
        beside: further columns by name, shape (N,) each.
    """
    x_adv = verdict.x_adv.cpu()
    delta = (x_adv - x).flatten(1)
    linf, l2 = delta.abs().amax(1), torch.linalg.vector_norm(delta, dim=1)
    correct = clean.correct
    success = correct & verdict.prediction.fooled
    columns = {
        **beside,
        "label": y,
        "clean_prediction": clean.predicted,
        "clean_correct": correct,
        "adversarial_prediction": verdict.prediction.predicted,
        "success": success,
        "robust": correct & ~success,
        "linf": linf,
        "l2": l2,
        "l1": delta.abs().sum(1),
        "raw_distance": verdict.raw_distance,
        "minimal_distance": verdict.minimal_distance,
        "clean_margin": clean.margin,
        "adversarial_margin": verdict.prediction.margin,
        "clean_confidence": clean.confidence,
        "adversarial_confidence": verdict.prediction.confidence,
        "iterations": found.iterations,
        "queries": _queries(found, success.cpu()),
        "forwards": found.forwards,
        "backwards": found.backwards,
        "rejected": verdict.prediction.rejected,
        "clean_correctness": clean.right,
        "correctness": torch.minimum(clean.right, 1 - verdict.prediction.wrong),
        "even_correctness": torch.minimum(clean.accepted, 1 - verdict.prediction.even),
        "odd_correctness": torch.minimum(clean.accepted, 1 - verdict.prediction.odd),
        "clean_rejected": clean.rejected,
        "clean_rejection_margin": clean.rejection_margin,
        "rejection_margin": verdict.prediction.rejection_margin,
    }
    if "certified_radius" in beside:  # what is certified at eps is a lower bound
        radius = threat_models.build(shard.cell.threat_model.norm, shard.cell.threat_model.eps).radius
        columns["robust"] = correct & holds(beside, y, radius)
        for name in ("correctness", "even_correctness", "odd_correctness"):
            columns[name] = columns["robust"].double()
    values = {name: column.tolist() for name, column in columns.items()}
    return [
        SampleRecord(
            cell=shard.cell_id,
            position=int(worker.dataset.positions[shard.members[row]]),
            sample_id=ids[row],
            sample_digest=image_digest(x[row]),
            stage=found.stage[row] if values["success"][row] else "",
            **{name: column[row] for name, column in values.items()},
        )
        for row in range(len(ids))
    ]


def kept_examples(shard: Shard, ids: tuple[str, ...], records: list[SampleRecord], verdict: Verdict) -> Examples | None:
    """The judged points that a shard keeps; ``None`` where it keeps none."""
    if shard.keep == "none":
        return None
    rows = [row for row, record in enumerate(records) if shard.keep == "all" or record.success]
    images = verdict.x_adv[rows].cpu().numpy().astype(np.float32)
    return Examples(tuple(ids[row] for row in rows), images)


def _pictures(shard: Shard, ids: tuple[str, ...], records: list[SampleRecord], beside: Beside) -> Examples | None:
    """The purified successes among the samples of the gallery; ``None`` where it won't show them, or there is no purifier."""
    shown = shard.keep != "none" if shard.cell.role == "suite" else shard.cell.role == "oblivious"
    if beside.purified is None or not shown:
        return None
    rows = [row for row, member in enumerate(shard.members) if member < IMAGES and records[row].success]
    return Examples(tuple(ids[row] for row in rows), beside.purified[rows].cpu().numpy().astype(np.float32))
