"""Evaluates a model that is in memory already, for notebooks: the same cells, attacks and judge, without a directory."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench.datasets.base import Dataset
from bench.errors import DatasetError, SuiteError, UnknownNameError
from bench.models.wrapper import CountedModel
from bench.runner.devices import choose
from bench.runner.evaluate import Shard, evaluate
from bench.runner.worker import Worker
from bench.stats import wilson
from bench.store.parts import Examples
from bench.store.records import SampleRecord
from bench.suites.cells import Cell
from bench.suites.check import Parts, part_problems
from bench.suites.conflicts import conflicts
from bench.suites.expand import expand, prerequisite_of
from bench.suites.messages import problems_of
from bench.suites.naming import resolve
from bench.suites.places import Places
from bench.suites.sources import Sources
from bench.suites.spec import Suite

WORST = "worst case"
_COLUMNS = ["attack", "adversary", "clean_accuracy", "robust_accuracy", "low", "high", "attack_success_rate", "status"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What :func:`evaluate_model` found.

    Attributes:
        table: one row per attack and one for the per-sample worst case. Columns: ``attack``, ``adversary``,
            ``clean_accuracy``, ``robust_accuracy`` (an upper bound), ``low`` and ``high`` (its 95 % Wilson interval over
            images), ``attack_success_rate`` (all shares in [0, 1]), ``status``: ``done``, ``error``, or for the worst case
            ``incomplete`` where an attack failed.
        samples: one row per attack and sample. Columns: ``attack``, ``adversary``, ``sample_index``, ``label``,
            ``clean_prediction``, ``adversarial_prediction``, ``clean_correct``, ``robust``, ``distance`` (of the judged
            point, in the threat model's norm), and the other fields of :class:`bench.store.records.SampleRecord`.
        errors: the traceback of each attack that failed.
        flags: what a reader of the numbers must know, one line each.
    """

    table: pd.DataFrame
    samples: pd.DataFrame
    errors: dict[str, str]
    flags: tuple[str, ...]
    _examples: dict[str, Tensor] = field(repr=False)

    def adversarial(self, attack: str) -> Tensor:
        """The points that were judged for one attack, float32 (N, C, H, W), in the order of the samples.

        A sample that the attack did not break has the last point that it tried; one that it did not attack, the clean
        image.

        Raises:
            UnknownNameError: for an attack that was not run, or failed.
        """
        if attack not in self._examples:
            raise UnknownNameError("attack", attack, [], list(self._examples))
        return self._examples[attack]


def evaluate_model(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat_model: str | Mapping[str, Any] = "linf:8/255",
    attacks: Sequence[str | Mapping[str, Any]] = ("autoattack",),
    defense: str | Mapping[str, Any] | None = None,
    adversary: str = "adaptive",
    seed: int = 0,
    *,
    search: str = "first_success",
    device: str = "auto",
    batch_size: int | None = None,
    num_classes: int | None = None,
) -> Evaluation:
    """Evaluates a model on tensors.

    Args:
        model: images in [0, 1] to logits (N, K); its normalisation is inside.
        x: images, shape (N, C, H, W), float32 in [0, 1].
        y: labels, shape (N,), integers in 0..K - 1.
        threat_model: ``norm:eps``, such as ``linf:8/255``, or a mapping with norm and eps.
        attacks: names or mappings, as in a suite.
        defense: a name or a mapping, as in a suite.
        adversary: what the attacker of the defense knows; ``adaptive`` includes the oblivious examples and a
            gradient-free attack, ``oblivious`` is the bare model's examples alone.
        seed: of all draws.
        search: ``first_success`` or ``strongest``.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: the most images of one pass; found by itself where it isn't given.
        num_classes: K; read from the model's output where it isn't given.

    Raises:
        SuiteError: where names, parameters or combinations can't work.
        DatasetError: where images or labels aren't what they should be.
        ModelError: where the outputs aren't finite logits of shape (N, K).
    """
    images, labels = _checked(x, y)
    chosen = choose(device)
    mode = [module.training for module in model.modules()]
    grads = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        model.to(chosen).eval()
        if num_classes is None:
            with torch.no_grad():
                logits = model(images[:1].to(chosen))
            num_classes = int(logits.shape[1]) if isinstance(logits, Tensor) and logits.dim() == 2 else 0
        suite = _suite(model, threat_model, attacks, defense, adversary, seed, search)
        dataset = _dataset(images, labels, num_classes)
        counted = CountedModel(model, num_classes=num_classes).to(chosen)
        worker = Worker(dataset, Places(download=False), chosen, batch_size)
        worker.adopt(suite.models[0], counted)
        return _Evaluate(suite, dataset, worker).result()
    finally:
        for module, training in zip(model.modules(), mode, strict=True):
            module.training = training
        for parameter, required in grads:
            parameter.requires_grad_(required)
        model.to(place)


def _checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if not isinstance(x, Tensor) or x.dim() != 4 or not x.dtype.is_floating_point or len(x) == 0:
        seen = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise DatasetError(f"x: images must be a float tensor of shape (N, C, H, W) in [0, 1], got {seen}")
    if not isinstance(y, Tensor) or y.shape != (len(x),) or y.dtype.is_floating_point:
        seen = f"{tuple(y.shape)} {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise DatasetError(f"y: labels must be an integer tensor of shape ({len(x)},), got {seen}")
    low, high = float(x.min()), float(x.max())
    if not (torch.isfinite(x).all() and low >= 0 and high <= 1):
        hint = "; divide by 255?" if high > 2 else "; is it normalised? put the normalisation into the model"
        raise DatasetError(f"x: images must be finite and in [0, 1], got {low:.4g} to {high:.4g}{hint}")
    return x.detach().float().cpu(), y.detach().long().cpu()


def _suite(
    model: nn.Module,
    threat_model: str | Mapping[str, Any],
    attacks: Sequence[str | Mapping[str, Any]],
    defense: str | Mapping[str, Any] | None,
    adversary: str,
    seed: int,
    search: str,
) -> Suite:
    """The same words as a suite; an attack keeps the name that the caller gave it, where that is unique."""
    given: list[dict[str, Any]] = [{"name": one} if isinstance(one, str) else dict(one) for one in attacks]
    names = [one.get("name") for one in given]
    for one in given:
        if names.count(one.get("name")) == 1:
            one.setdefault("id", one.get("name"))
    words = {
        "name": "evaluate",
        "dataset": "npz",
        "threat_models": [threat_model],
        "models": [{"id": type(model).__name__, "source": "memory"}],
        "attacks": given,
        "defenses": ["none" if defense is None else defense],
        "adversaries": ["oblivious", "adaptive"] if adversary == "adaptive" else [adversary],
        "run": {"seed": seed, "search": search},
    }
    try:
        suite = Suite.model_validate(words)
    except ValidationError as error:
        raise SuiteError(problems_of(error, Sources())) from error
    parts = dataclasses.replace(Parts.of(suite), dataset=None, models={})
    problems = [*part_problems(parts, Sources()), *conflicts(suite, Sources())]
    if problems:
        raise SuiteError(problems)
    return resolve(suite)


def _dataset(images: Tensor, labels: Tensor, num_classes: int) -> Dataset:
    if int(labels.min()) < 0 or int(labels.max()) >= num_classes:
        low, high = int(labels.min()), int(labels.max())
        raise DatasetError(f"y: labels go from {low} to {high}, the model has {num_classes} classes")
    return Dataset(
        name="memory",
        images=np.ascontiguousarray(images.numpy()),
        labels=labels.numpy(),
        sample_ids=tuple(f"{index:08d}" for index in range(len(labels))),
        positions=np.arange(len(labels), dtype=np.int64),
        num_classes=num_classes,
        class_names=(),
        digest="memory",
    )


class _Evaluate:
    """The cells of one evaluation, in memory."""

    def __init__(self, suite: Suite, dataset: Dataset, worker: Worker) -> None:
        self.suite, self.dataset, self.worker = suite, dataset, worker
        self.cells = expand(suite)
        self.frames: dict[str, pd.DataFrame] = {}
        self.images: dict[str, Tensor] = {}
        self.errors: dict[str, str] = {}
        self.flags: dict[str, None] = {}
        self.saved: dict[int, Examples] = {}

    def result(self) -> Evaluation:
        """Runs every cell."""
        rows: list[dict[str, Any]] = []
        for number, cell in enumerate(self.cells):
            name = _name(cell)
            try:
                frame = self._cell(number, cell)
            except Exception as error:  # noqa: BLE001 (the cell's edge: a failure is an error row, never a number)
                self.errors[name] = traceback.format_exc()
                self.flags[f"{name}: {type(error).__name__}: {error}"] = None
                rows.append({"attack": name, "adversary": cell.adversary, "status": "error"})
                continue
            if cell.role != "prerequisite":
                self.frames[name] = frame
                self.images[name] = torch.from_numpy(self.saved[number].images)
                rows.append({"attack": name, "adversary": cell.adversary, **_numbers(frame), "status": "done"})
        rows.append({"attack": WORST, "adversary": self.suite.adversaries[-1], **self._worst()})
        samples = pd.concat(self.frames.values(), ignore_index=True) if self.frames else pd.DataFrame()
        table = pd.DataFrame(rows, columns=_COLUMNS)
        return Evaluation(table, samples, self.errors, tuple(self.flags), self.images)

    def _cell(self, number: int, cell: Cell) -> pd.DataFrame:
        size, records, images = self.suite.run.shard_size, list[SampleRecord](), []
        examples = None
        if cell.role == "oblivious":
            examples = self.saved.get(self.cells.index(prerequisite_of(cell, self.cells)))
        for index, start in enumerate(range(0, len(self.dataset), size)):
            members = tuple(range(start, min(start + size, len(self.dataset))))
            shard = Shard(cell, _name(cell), index, members, "all", examples)
            outcome = evaluate(self.worker, shard, lambda finished, robust: None)
            records += outcome.records
            if outcome.examples is not None:
                images.append(outcome.examples.images)
            self.flags.update(dict.fromkeys(f"{_name(cell)}: {flag.message}" for flag in outcome.report.flags))
        self.saved[number] = Examples(self.dataset.sample_ids, np.concatenate(images))
        frame = pd.DataFrame(records, columns=list(SampleRecord._fields)).drop(columns=["cell", "sample_id"])
        frame = frame.rename(columns={"position": "sample_index"})
        frame.insert(0, "attack", _name(cell))
        frame.insert(1, "adversary", cell.adversary)
        frame["distance"] = frame[cell.threat_model.norm]
        return frame

    def _worst(self) -> dict[str, Any]:
        """Per sample, the worst over everything that ran."""
        if not self.frames:
            return {"status": "incomplete"}
        frames = list(self.frames.values())
        worst = frames[0].assign(
            robust=np.logical_and.reduce([frame["robust"].to_numpy() for frame in frames]),
            success=np.logical_or.reduce([frame["success"].to_numpy() for frame in frames]),
        )
        return {**_numbers(worst), "status": "incomplete" if self.errors else "done"}


def _name(cell: Cell) -> str:
    roles = {"oblivious": " (oblivious)", "prerequisite": " (bare model)", "gradient_free": " (gradient-free)"}
    return cell.attack_id + roles.get(cell.role, "")


def _numbers(frame: pd.DataFrame) -> dict[str, Any]:
    n, robust = len(frame), int(frame["robust"].sum())
    correct, success = int(frame["clean_correct"].sum()), int(frame["success"].sum())
    interval = wilson(robust, n)
    return {
        "clean_accuracy": correct / n,
        "robust_accuracy": robust / n,
        "low": interval.low,
        "high": interval.high,
        "attack_success_rate": success / correct if correct else float("nan"),
    }
