"""Tries the saved examples of a run on another model: how many that it gets right when clean does it get wrong then?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import models, registry, threat_models
from bench.errors import BenchError, ModelError
from bench.models import state_dict, weights
from bench.models.base import Setting
from bench.models.loading import source_of
from bench.models.wrapper import CountedModel
from bench.runner.asked import asked
from bench.runner.devices import choose
from bench.runner.judge import exact_arithmetic, predict
from bench.runner.preflight import Plan, preflight
from bench.runner.verify.again import CHUNK
from bench.runner.verify.reading import Part, read_parts, read_record, read_rows
from bench.runner.verify.results import Found, Kind, VerifyProblem
from bench.runner.worker import Worker
from bench.stats import wilson
from bench.store.recorded import recorded_cell
from bench.store.records import CellResult, RunRecord
from bench.store.run_directory import RunDirectory
from bench.suites.cells import Cell
from bench.suites.loaded import LoadedSuite
from bench.suites.places import Places
from bench.suites.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class TransferRow:
    """The examples of one cell of a bare row, on the other model.

    Attributes:
        cell: id of the cell that the examples were made in.
        model: id of the model that they were made against.
        threat_model: for people.
        attack: the attack, for people.
        replayed: examples.
        clean_correct: those whose clean image the other model gets right.
        misclassified: those among them that it gets wrong as an example.
        low: Wilson's 95 % interval of the share, over images.
        high: its upper end.
        successes_only: whether only successes were saved: what didn't break its own model wasn't tried.
    """

    cell: str
    model: str
    threat_model: str
    attack: str
    replayed: int
    clean_correct: int
    misclassified: int
    low: float
    high: float
    successes_only: bool

    @property
    def rate(self) -> float | None:
        """Misclassified / clean-correct; ``None`` where there are none."""
        return self.misclassified / self.clean_correct if self.clean_correct else None


@dataclass(frozen=True, slots=True)
class Transfer:
    """What became of a run's examples on another model.

    Attributes:
        directory: of the run.
        other: the other model, for people.
        digest: of its weights.
        rows: one per cell of a bare row.
        problems: what couldn't be read or replayed.
    """

    directory: Path
    other: str
    digest: str
    rows: tuple[TransferRow, ...]
    problems: tuple[VerifyProblem, ...]

    def as_json(self) -> dict[str, Any]:  # Any: JSON values
        """The whole result as JSON values."""
        rows = [{**asdict(row), "rate": row.rate} for row in self.rows]
        return {**asdict(self), "directory": str(self.directory), "rows": rows}


def replay(
    run: Path,
    checkpoint: str,
    *,
    model: str | None = None,
    key: str | None = None,
    places: Places | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> Transfer:
    """Tries the saved examples of a run's bare rows on another model; writes nothing.

    Args:
        run: the run's directory.
        checkpoint: a file of weights for a model of the run, or a model in short, such as ``zoo:mnist_pgd``.
        model: id of the run's model that the weights are for, where it has several.
        key: where the state dict lies in the file.
        places: directories and permissions.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: the most samples of a pass; found by itself where it is ``None``.
        note: told of how it goes on.

    Raises:
        StoreError: where there is no run, or ``run.json`` can't be read.
        BenchError: where the other model can't be had, or the suite can't.
    """
    directory, places = RunDirectory.open(run), places or Places()
    record, chosen = directory.read_run(), choose(device)
    plugins = tuple(Path(plugin) for plugin in record.suite.plugins)
    plan = preflight(
        LoadedSuite(record.suite, directory.path / "run.json", plugins=plugins), places, note, recorded=True
    )
    other = _Other.of(checkpoint, record, plan, places, model, key)
    worker = Worker(plan.dataset, places, chosen, batch_size)
    worker.adopt(other.spec, other.network.to(chosen))
    found, rows = Found(), list[TransferRow]()
    others = _Replay(worker, other.spec, found)
    for cell in record.cells:
        result = read_record(directory, cell, found)
        if result is None or result.defense.name != "none":
            continue
        stored = read_rows(directory, cell, found).frame
        count = int(asked(stored, plan.dataset.sample_ids).sum())
        row = others.cell(result, read_parts(directory, cell, found), count)
        note(f"{row.model} | {row.threat_model} | {row.attack}: {row.replayed} examples replayed")
        rows.append(row)
    return Transfer(directory.path, other.label, other.digest, tuple(rows), found.problems())


@dataclass(frozen=True, slots=True)
class _Other:
    """The other model."""

    spec: ModelSpec
    network: CountedModel
    label: str
    digest: str

    @classmethod
    def of(
        cls, checkpoint: str, record: RunRecord, plan: Plan, places: Places, model: str | None, key: str | None
    ) -> _Other:
        norm = record.suite.threat_models[0].norm
        setting = Setting(plan.dataset.name, norm, plan.dataset.num_classes, plan.dataset.shape)
        source = checkpoint.partition(":")[0]
        if ":" in checkpoint and source in registry.models.entries() and source != "checkpoint":
            if model is not None or key is not None:
                raise BenchError(
                    f"--against {checkpoint}: it names a model (accepted: --model and --key beside a file of weights)"
                )
            spec = ModelSpec.model_validate(checkpoint)
            digest = models.locate(spec, setting, places).weights_digest
            return cls(spec, models.load(spec, setting, places, device="cpu"), checkpoint, digest)
        path = Path(checkpoint.removeprefix("checkpoint:")).expanduser()
        base = _base(record, model)
        digest = weights.require(path, None)
        spec = base.model_copy(update={"weights": str(path), "key": key or base.key, "sha256": None})
        network = _with_weights(base, setting, places, path, spec.key)
        return cls(spec, network, f"{base.id} with the weights of {path}", digest)


def _base(record: RunRecord, model: str | None) -> ModelSpec:
    """The run's model that the weights are for."""
    known = {one.id: one for one in record.suite.models}
    if model is None and len(known) == 1:
        return next(iter(known.values()))
    if model is None or model not in known:
        what = "which model of the run are the weights for?" if model is None else f"the run has no model {model!r}"
        raise BenchError(f"--model: {what} (accepted: {', '.join(known)})")
    return known[model]


def _with_weights(base: ModelSpec, setting: Setting, places: Places, path: Path, key: str | None) -> CountedModel:
    """The network of a model, from whatever source, with other weights; its normalisation stays."""
    source = source_of(base)
    try:
        network = source.build(base, setting, places, source.locate(base, setting, places))
    except BenchError as error:
        raise ModelError(f"{base.id}, whose architecture the weights are for, can't be built here: {error}") from error
    state = state_dict.find(weights.read(path, places), key, path)
    state_dict.load_strictly(network, state.state, f"{path} into {base.id}")
    return CountedModel(network.eval(), num_classes=setting.num_classes, mean=base.mean, std=base.std)


class _Replay:
    """Tries saved examples on the other model.

    Args:
        worker: holds the images and the other model.
        spec: the other model.
        found: gets what can't be replayed.
    """

    def __init__(self, worker: Worker, spec: ModelSpec, found: Found) -> None:
        self.worker, self.spec, self.found = worker, spec, found
        self.places = {sample: place for place, sample in enumerate(worker.dataset.sample_ids)}

    def cell(self, result: CellResult, parts: Iterable[Part], asked: int) -> TransferRow:
        """The examples of one cell.

        Args:
            result: its record.
            parts: its files of examples.
            asked: its rows of samples that the suite asks for.
        """
        cell = recorded_cell(result, "auto")
        replayed = correct = wrong = 0
        for part in parts:
            if part.examples.images.shape[1:] != self.worker.dataset.shape:
                shape = f"{part.name}: images of shape {part.examples.images.shape[1:]}"
                self.found.add("unreadable", shape, cell=result.cell)
                continue
            kept = [place for place, sample in enumerate(part.examples.sample_ids) if sample in self.places]
            for start in range(0, len(kept), CHUNK):
                right, broken = self._tried(cell, result.cell, part, kept[start : start + CHUNK])
                replayed += len(right)
                correct += int(right.sum())
                wrong += int((right & broken).sum())
        low, high = wilson(wrong, correct)
        names = (result.cell, cell.model.id, cell.threat_model.label, cell.label.rpartition(" | ")[2])
        return TransferRow(*names, replayed, correct, wrong, low, high, successes_only=replayed < asked)

    def _tried(self, cell: Cell, identity: str, part: Part, chosen: list[int]) -> tuple[Tensor, Tensor]:
        """Which clean images the other model gets right, and which points wrong; points outside are left out and named."""
        ids = [part.examples.sample_ids[place] for place in chosen]
        points = torch.from_numpy(np.ascontiguousarray(part.examples.images[chosen]))
        batch = self.worker.dataset.batch(np.array([self.places[sample] for sample in ids], dtype=np.int64))
        ball = threat_models.build(cell.threat_model.norm, cell.threat_model.eps)
        finite = torch.isfinite(points.flatten(1)).all(1)
        inside = finite & ball.contains(points, batch.x)
        if not inside.all():
            outside = [sample for sample, good in zip(ids, inside.tolist(), strict=True) if not good]
            kind: Kind = "outside" if finite.all() else "not-finite"
            what = f"{part.name}: not inside the threat model, and not replayed"
            self.found.add(kind, what, cell=identity, samples=outside)
        x, y, points = (one[inside].to(self.worker.device) for one in (batch.x, batch.y, points))
        target = self.worker.model(self.spec, cell.threat_model.norm)
        with exact_arithmetic():
            right = predict(target, x, y, self.worker.batch_size).correct
            return right, predict(target, points, y, self.worker.batch_size).fooled
