"""Runs made by hand: every verdict is chosen by the test, and written through the store's own classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.store.gallery import write_clean
from bench.store.parts import Examples, ShardReport
from bench.store.records import CellResult, Cost, Estimate, Flag, RunRecord, SampleRecord
from bench.store.run_directory import RunDirectory, hash_of
from bench.suites.cells import Cell
from bench.suites.spec import AttackSpec, DatasetSpec, DefenseSpec, ModelSpec, Suite, ThreatModelSpec


@dataclass(frozen=True)
class Planned:
    """One cell of a run and what it found; positions in ``wrong`` and ``broken``, all others are robust."""

    model: str = "model-a"
    attack: str = "pgd-20"
    broken: Collection[int] = ()
    wrong: Collection[int] = ()
    defense: str = "none"
    role: str = "suite"
    adversary: str = "adaptive"
    seed: int = 0
    threat_model: str = "linf:8/255"
    status: str = "done"
    reason: str = ""
    flags: tuple[Flag, ...] = ()
    rows: Iterable[int] | None = None
    """positions that have a row; all of them where it isn't given"""
    recorded: bool = True
    """whether the cell has a JSON file"""
    published: tuple[str, str, str] | None = None
    examples: Collection[int] = ()
    purified: Collection[int] = ()
    """positions whose purified example is kept: half as bright as the clean image"""
    bare_prediction: int = -1
    """of the bare model on every judged point"""
    search: str = "first_success"
    distances: Mapping[int, float] | None = None
    """minimal distance by position, infinity for all others; of no sample where it isn't given"""
    passes: Mapping[int, float] = field(default_factory=dict)
    """forward passes by position, and as many backward passes; 20 for all others"""
    correctness: Mapping[int, float] = field(default_factory=dict)
    """share of scoring draws by position, on the judged point; of all others the verdict"""
    radii: Mapping[int, float] | None = None
    """of a certificate: certified radius by position, 0 (it abstains) for all others; below 0, of the wrong class"""
    defense_args: Mapping[str, Any] = field(default_factory=dict)
    backend: str | None = None
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    """beside the robust accuracy"""
    facts: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    """of a transfer cell, id of the model that its examples were made against"""
    examples_of: int | None = None
    """of a transfer cell, place of the cell that made its examples"""

    def cell(self, dataset: DatasetSpec) -> Cell:
        name = self.attack.partition("-")[0]
        return Cell(
            self.role,  # type: ignore[arg-type]
            dataset,
            ModelSpec(id=self.model, source="zoo"),
            DefenseSpec(id=self.defense, name=self.defense.partition("-")[0], args=dict(self.defense_args)),
            ThreatModelSpec.model_validate(self.threat_model),
            AttackSpec(id=self.attack, name=name, backend=self.backend),
            self.adversary,  # type: ignore[arg-type]
            self.seed,
            self.search,  # type: ignore[arg-type]
            "float32",
            ModelSpec(id=self.source, source="zoo") if self.source else None,
        )


def image(position: int, shape: tuple[int, int, int] = (3, 8, 8)) -> npt.NDArray[np.float32]:
    """A clean image that looks like something: a bright disc whose place depends on the position."""
    channels, height, width = shape
    yy, xx = np.mgrid[0:height, 0:width]
    centre = 2 + position % max(1, height - 4)
    disc = np.exp(-((yy - centre) ** 2 + (xx - width / 2) ** 2) / (0.08 * height * width))
    tint = np.linspace(1, 0.4, channels)[:, None, None]
    return (0.1 + 0.8 * disc[None] * tint).astype(np.float32)


def build_run(
    path: Path,
    planned: Sequence[Planned],
    *,
    n: int = 20,
    positions: Sequence[int] | None = None,
    note: str = "",
    dataset: str = "cifar10",
    class_names: Sequence[str] = ("cat", "dog"),
    shape: tuple[int, int, int] = (3, 8, 8),
    clean: bool = True,
) -> RunDirectory:
    """Writes a run of ``n`` samples; its suite is made from the cells that were planned."""
    run = RunDirectory(path)
    spec = DatasetSpec(name=dataset, samples=n)
    cells = [plan.cell(spec) for plan in planned]
    ids = [
        cell.id({"planned": index, **plan.facts}) for index, (cell, plan) in enumerate(zip(cells, planned, strict=True))
    ]
    suite = Suite(
        name="synthetic",
        dataset=spec,
        threat_models=tuple(dict.fromkeys(cell.threat_model for cell in cells)),
        models=_distinct([cell.model for cell in cells]),
        attacks=_distinct([cell.attack for cell in cells if cell.role in ("suite", "oblivious")] or [cells[0].attack]),
        defenses=_distinct([cell.defense for cell in cells if cell.role != "prerequisite"] or [cells[0].defense]),
    )
    shown = tuple(range(n)) if positions is None else tuple(positions)
    facts = {"name": dataset, "images": len(shown), "class_names": list(class_names), "num_classes": len(class_names)}
    run.write_run(
        RunRecord(
            suite=suite,
            run="default",
            command="bench run synthetic.yaml",
            started="2025-01-01T00:00:00Z",
            cells=tuple(ids),
            positions=shown,
            dataset={**facts, "note": note},
        )
    )
    for plan, cell, cell_id in zip(planned, cells, ids, strict=True):
        rows = range(n) if plan.rows is None else plan.rows
        _write_rows(run, plan, cell_id, list(rows), shape)
        if plan.recorded:
            made = None if plan.examples_of is None else ids[plan.examples_of]
            run.write_cell(_result(plan, cell, cell_id, n, made))
    if clean:
        kept = range(min(n, 64))
        write_clean(run, [f"cifar10/test/{i:05d}" for i in kept], np.stack([image(i, shape) for i in kept]))
    return run


def _distinct(specs: Sequence[Any]) -> tuple[Any, ...]:
    return tuple({spec.id: spec for spec in specs}.values())


def record(cell: str, plan: Planned, position: int) -> SampleRecord:
    """The row of one sample."""
    wrong, broken = position in plan.wrong, position in plan.broken and position not in plan.wrong
    label = position % 2
    return SampleRecord(
        cell=cell,
        position=position,
        sample_id=f"cifar10/test/{position:05d}",
        sample_digest=f"{position:016x}",
        label=label,
        clean_prediction=1 - label if wrong else label,
        clean_correct=not wrong,
        adversarial_prediction=1 - label if wrong or broken else label,
        success=broken,
        robust=not wrong and not broken,
        linf=8 / 255,
        l2=0.5,
        raw_distance=8 / 255,
        clean_margin=-1.0 if wrong else 1.0,
        adversarial_margin=-1.0 if wrong or broken else 1.0,
        clean_confidence=0.9,
        adversarial_confidence=0.7,
        iterations=20,
        forwards=plan.passes.get(position, 20.0),
        backwards=plan.passes.get(position, 20.0),
        rejected=False,
        stage="",
        minimal_distance=_minimal_distance(plan, position),
        clean_correctness=float(not wrong),
        correctness=plan.correctness.get(position, float(not wrong and not broken)),
        l1=2.0,
        bare_adversarial_prediction=plan.bare_prediction,
        **_certified(plan, position, label),
    )


def _certified(plan: Planned, position: int, label: int) -> dict[str, Any]:
    if plan.radii is None:
        return {}
    radius = plan.radii.get(position, 0.0)
    predicted = label if radius > 0 else 1 - label
    return {"certified_prediction": predicted if radius else -1, "certified_radius": abs(radius)}


def _minimal_distance(plan: Planned, position: int) -> float:
    if plan.distances is None:
        return math.nan
    return 0.0 if position in plan.wrong else plan.distances.get(position, math.inf)


def _write_rows(run: RunDirectory, plan: Planned, cell: str, rows: list[int], shape: tuple[int, int, int]) -> None:
    if not rows:
        return
    report = ShardReport(samples=len(rows), seconds=1.5, device="cpu", batch_size=8)
    kept = [position for position in rows if position in plan.examples]
    examples = None
    if kept:
        sign = np.where(np.indices(shape).sum(0) % 2, 1, -1).astype(np.float32)
        images = np.stack([np.clip(image(position, shape) + sign * 8 / 255, 0, 1) for position in kept])
        examples = Examples(tuple(f"cifar10/test/{position:05d}" for position in kept), images.astype(np.float32))
    cleaned = [position for position in rows if position in plan.purified]
    purified = None
    if cleaned:
        images = np.stack([image(position, shape) / 2 for position in cleaned])
        purified = Examples(tuple(f"cifar10/test/{position:05d}" for position in cleaned), images)
    run.write_shard(cell, 0, [record(cell, plan, position) for position in rows], report, examples, purified)


def _result(plan: Planned, cell: Cell, cell_id: str, n: int, made: str | None) -> CellResult:
    done = plan.status == "done"
    broken = len(set(plan.broken) - set(plan.wrong))
    robust = (n - len(set(plan.wrong)) - broken) / n
    estimates = {"robust_accuracy": Estimate(value=robust, low=0.0, high=1.0, n=n), **plan.metrics} if done else {}
    return CellResult(
        cell=cell_id,
        role=plan.role,  # type: ignore[arg-type]
        status=plan.status,  # type: ignore[arg-type]
        dataset=cell.dataset,
        model=cell.model,
        defense=cell.defense,
        threat_model=cell.threat_model,
        attack=cell.attack,
        adversary=cell.adversary,
        seed=cell.seed,
        search=cell.search,
        precision=cell.precision,
        samples=n,
        metrics=estimates,
        cost=Cost(seconds=1.5, images_per_second=n / 1.5, forwards=20.0 * n, backwards=20.0 * n) if done else None,
        flags=plan.flags,
        reason=plan.reason,
        source=cell.source,
        provenance={
            **({} if plan.published is None else {"published": list(plan.published)}),
            **({} if made is None else {"facts": {"examples": hash_of(made)}}),
        },
    )
