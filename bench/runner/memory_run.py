"""Evaluates a model that is in memory already, for notebooks: the same cells, attacks and judge, without a directory."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from bench.attacks.draws import global_seed
from bench.attacks.listener import nobody
from bench.datasets.base import Dataset
from bench.datasets.held_out import disjoint
from bench.errors import ModelError, UnknownNameError
from bench.metrics import estimates
from bench.models.wrapper import CountedModel
from bench.runner.cell_flags import cell_flags, weak_adversary
from bench.runner.devices import choose
from bench.runner.evaluate import evaluate
from bench.runner.memory_inputs import checked, dataset_of, num_classes_of, suite_of
from bench.runner.shards import Shard
from bench.runner.worker import Worker
from bench.store.cell_outcome import least
from bench.store.parts import Examples, ShardReport
from bench.store.records import Flag, SampleRecord
from bench.suites.cells import Cell
from bench.suites.expand import Makers, expand
from bench.suites.places import Places
from bench.suites.spec import Suite

WORST = "worst case"
CERTIFICATE = " (certificate, a lower bound)"
_COLUMNS = [
    "attack",
    "adversary",
    "clean_accuracy",
    "robust_accuracy",
    "low",
    "high",
    "attack_success_rate",
    "status",
    "flags",
]
_SAMPLES = [
    "attack",
    "adversary",
    *(
        "sample_index" if name == "position" else name
        for name in SampleRecord._fields
        if name not in ("cell", "sample_id")
    ),
    "distance",
]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What :func:`evaluate_model` found.

    Attributes:
        table: one row per attack and one for the per-sample worst case. Columns: ``attack``, ``adversary``,
            ``clean_accuracy``, ``robust_accuracy`` (an upper bound), ``low`` and ``high`` (its 95 % Wilson interval over
            images), ``attack_success_rate`` (all shares in [0, 1]), ``status``: ``done``, ``error``, ``invalid`` (a flag
            says that the number means nothing), or for the worst case ``incomplete`` where an attack failed or is
            invalid: its number is then only a bound, without an interval; ``flags``: the rules of the flags, such as
            ``no-adaptive-attack`` where nobody who knows the defense has attacked it; empty where there are none.
        samples: one row per attack and sample. Columns: ``attack``, ``adversary``, ``sample_index``, ``label``,
            ``clean_prediction``, ``adversarial_prediction``, ``clean_correct``, ``robust``, ``distance`` (of the judged
            point, in the threat model's norm), and the other fields of :class:`bench.store.records.SampleRecord`.
        errors: the traceback of each attack that failed.
        flags: what a reader of the numbers must know, one line each: the attack, what it is, and the rule.
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
    calibration: tuple[Tensor, Tensor] | None = None,
) -> Evaluation:
    """Evaluates a model on tensors.

    Args:
        model: images in [0, 1] to logits (N, K); its normalisation is inside.
        x: images, shape (N, C, H, W), float32 in [0, 1].
        y: labels, shape (N,), integers in 0..K - 1.
        threat_model: ``norm:eps``, such as ``linf:8/255``, or a mapping with norm and eps.
        attacks: names or mappings, as in a suite.
        defense: a name or a mapping, as in a suite.
        adversary: what the attacker of the defense knows; ``adaptive`` includes the oblivious examples, a gradient-free attack,
            and ``adam_pgd`` against what rejects under Linf, ``oblivious`` is the bare model's examples alone, ``naive`` takes
            the defended model for an ordinary one.
        seed: of all draws.
        search: ``first_success`` or ``strongest``.
        device: auto, cpu, cuda, cuda:N or mps.
        batch_size: the most images of one pass; found by itself where it isn't given.
        num_classes: K; read from the model's output where it isn't given.
        calibration: for a detector: clean images that are neither trained nor evaluated on, and their labels, as x and y.

    Raises:
        SuiteError: where names, parameters or combinations can't work.
        DatasetError: where images or labels aren't what they should be.
        ModelError: where the outputs aren't finite logits of shape (N, K).
    """
    images, labels = checked(x, y)
    if not isinstance(model, nn.Module):
        raise ModelError(f"model: got {type(model).__name__} (accepted: a torch.nn.Module)")
    suite = suite_of(model, threat_model, attacks, defense, adversary, seed, search)
    chosen = choose(device)
    with _as_before(model), global_seed(seed):
        model.to(chosen).eval()
        classes = num_classes if num_classes is not None else num_classes_of(model, images.to(chosen))
        dataset = dataset_of(images, labels, classes)
        clean = None if calibration is None else disjoint(dataset_of(*checked(*calibration), classes), dataset)
        worker = Worker(dataset, Places(download=False), chosen, batch_size, calibration=clean)
        worker.adopt(suite.models[0], CountedModel(model, num_classes=classes).to(chosen), keep=True)
        return _Evaluate(suite, dataset, worker).result()


@contextmanager
def _as_before(model: nn.Module) -> Iterator[None]:
    """Puts the model's mode, its parameters' need of gradients and its device back."""
    modes = [(module, module.training) for module in model.modules()]
    grads = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    place = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, required in grads:
            parameter.requires_grad_(required)
        model.to(place)


class _Evaluate:
    """The cells of one evaluation, in memory."""

    def __init__(self, suite: Suite, dataset: Dataset, worker: Worker) -> None:
        self.suite, self.dataset, self.worker = suite, dataset, worker
        self.cells = expand(suite)
        self.frames: dict[str, pd.DataFrame] = {}
        self.images: dict[str, Tensor] = {}
        self.errors: dict[str, str] = {}
        self.flags: dict[str, None] = {}
        self.rules: dict[str, dict[str, None]] = {}
        self.invalid: set[str] = set()
        self.saved: dict[int, Examples] = {}

    def result(self) -> Evaluation:
        """Runs every cell."""
        rows: list[dict[str, Any]] = []
        for number, cell in enumerate(self.cells):
            name = _name(cell)
            try:
                frame = self._cell(number, cell)
            except (Exception, SystemExit) as error:  # noqa: BLE001 (the cell's edge: an error row, never a number)
                self.errors[name] = traceback.format_exc()
                self.flags[f"{name}: {type(error).__name__}: {error}"] = None
                self._note(cell, weak_adversary(self.suite, cell))
                rows.append({**self._words(name, cell.adversary), "status": "error"})
                continue
            if cell.role != "prerequisite":
                self.frames[name] = frame
                self.images[name] = torch.from_numpy(self.saved[number].images)
                status = "invalid" if name in self.invalid else "done"
                rows.append({**self._words(name, cell.adversary), **_numbers(frame), "status": status})
        self.rules[WORST] = {rule: None for rules in self.rules.values() for rule in rules}
        present = {cell.adversary for cell in self.cells if cell.role != "prerequisite"}
        knows = next((one for one in ("adaptive", "naive") if one in present), "oblivious")
        rows.append({**self._words(WORST, knows), **self._worst()})
        samples = pd.concat(self.frames.values(), ignore_index=True) if self.frames else pd.DataFrame(columns=_SAMPLES)
        table = pd.DataFrame(rows, columns=_COLUMNS)
        return Evaluation(table, samples, self.errors, tuple(self.flags), self.images)

    def _cell(self, number: int, cell: Cell) -> pd.DataFrame:
        size, records, reports, images = self.suite.run.shard_size, list[SampleRecord](), list[ShardReport](), []
        examples = None
        if cell.role == "oblivious":
            examples = self.saved.get(self.cells.index(Makers(self.cells).of(cell)))
        for index, start in enumerate(range(0, len(self.dataset), size)):
            members = tuple(range(start, min(start + size, len(self.dataset))))
            shard = Shard(cell, _name(cell), index, members, "all", examples)
            outcome = evaluate(self.worker, shard, nobody)
            records += outcome.records
            if outcome.examples is not None:
                images.append(outcome.examples.images)
            reports.append(outcome.report)
        rows = pd.DataFrame(records, columns=list(SampleRecord._fields))
        self._note(cell, cell_flags(self.suite, cell, rows, reports))
        self.saved[number] = Examples(self.dataset.sample_ids, np.concatenate(images))
        frame = rows.drop(columns=["cell", "sample_id"]).rename(columns={"position": "sample_index"})
        frame.insert(0, "attack", _name(cell))
        frame.insert(1, "adversary", cell.adversary)
        frame["distance"] = frame[cell.threat_model.norm]
        return frame

    def _note(self, cell: Cell, flags: Iterable[Flag]) -> None:
        name = _name(cell)
        for flag in flags:
            self.flags[f"{name}: {flag.message} ({flag.rule})"] = None
            self.rules.setdefault(name, {})[flag.rule] = None
            self.invalid |= {name} if flag.severity == "invalid" else set()

    def _words(self, name: str, adversary: str) -> dict[str, str]:
        """A row's columns that aren't numbers."""
        return {"attack": name, "adversary": adversary, "flags": ", ".join(self.rules.get(name, ()))}

    def _worst(self) -> dict[str, Any]:
        """Per sample, the worst over everything that ran: a bound without an interval where something is missing."""
        frames = [frame for name, frame in self.frames.items() if not name.endswith(CERTIFICATE)]
        if not frames:
            return {"status": "incomplete"}
        shares = [frame["correctness"].to_numpy() for frame in frames]
        halves = [frame[["even_correctness", "odd_correctness"]].to_numpy().T for frame in frames]
        worst = frames[0].assign(
            robust=np.logical_and.reduce([frame["robust"].to_numpy() for frame in frames]),
            success=np.logical_or.reduce([frame["success"].to_numpy() for frame in frames]),
            correctness=least(shares, halves, frames[0]["clean_correctness"].to_numpy()),
        )
        if self.errors or self.invalid:
            return {**_numbers(worst), "low": None, "high": None, "status": "incomplete"}
        return {**_numbers(worst), "status": "done"}


def _name(cell: Cell) -> str:
    roles = {
        "oblivious": " (oblivious)",
        "naive": " (naive)",
        "prerequisite": " (bare model)",
        "gradient_free": " (gradient-free)",
        "certificate": CERTIFICATE,
    }
    return cell.attack_id + roles.get(cell.role, "")


def _numbers(frame: pd.DataFrame) -> dict[str, Any]:
    correct, success = int(frame["clean_correct"].sum()), int(frame["success"].sum())
    robust = estimates.share(frame["correctness"].to_numpy())
    return {
        "clean_accuracy": float(frame["clean_correctness"].mean()),
        "robust_accuracy": robust.value,
        "low": robust.low,
        "high": robust.high,
        "attack_success_rate": success / correct if correct else float("nan"),
    }
