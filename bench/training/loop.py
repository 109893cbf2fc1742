"""The training loop: deterministic, saved as it goes, taken up again anywhere.

Every draw comes from (seed, purpose, epoch, step) and every learning rate from the step's number, so a training that
was killed and resumed gives the same weights, bit for bit, as an uninterrupted one on the same kind of machine with the
same number of threads.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.datasets.base import Dataset
from bench.errors import Interrupted, ModelError
from bench.training import averages, checkpoint, precision
from bench.training.checkpoint import State, Tally
from bench.training.images import TrainingImages
from bench.training.method import TrainingMethod
from bench.training.processes import Processes
from bench.training.recipe import Recipe
from bench.training.seeds import Seeds
from bench.training.update import Updates

ALONE = Processes()
_WATCHED = 256
"""Images that a method's watch sees."""


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """What is known at the end of an epoch.

    Attributes:
        epoch: epochs done.
        loss: mean training loss of the epoch.
        accuracy: share of the epoch's training images (adversarial ones under pgd) that were classified correctly;
            ``None`` for a denoiser.
        model: the network that is kept, in evaluation mode.
        seconds: training time so far.
        seconds_left: estimate for the epochs that remain.
        lr: learning rate of the epoch's last step.
        stopped: why the training ends here, before its last epoch; empty where it goes on.
    """

    epoch: int
    loss: float
    accuracy: float | None
    model: nn.Module
    seconds: float
    seconds_left: float
    lr: float = 0.0
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class Saving:
    """When and where the state is saved.

    Attributes:
        path: the checkpoint.
        identity: what the training is made from.
        every_seconds: time between two checkpoints, inside an epoch or between two; the last step is always saved.
        deadline: on :func:`time.monotonic`'s clock; the training stops there, saved. ``None`` for none.
    """

    path: Path
    identity: dict[str, str]
    every_seconds: float = 20.0
    deadline: float | None = None


def fresh(recipe: Recipe, build: Callable[[], nn.Module], device: torch.device) -> State:
    """The state before the first step: weights drawn from the recipe's seed."""
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        torch.manual_seed(Seeds(recipe.seed).number("weights"))
        model = precision.arranged(build().to(device).train(), precision.resolved(recipe, device))
    average = copy.deepcopy(model).eval() if recipe.averaging is not None else None
    if recipe.compile:
        model.compile()
    return State(
        model=model,
        optimizer=_optimizer(recipe, model),
        average=average,
        epoch=0,
        step=0,
        seconds=0.0,
        threads=[torch.get_num_threads()] if device.type == "cpu" else [],
        tally=_empty(device),
    )


def fit(
    recipe: Recipe,
    state: State,
    images: Dataset,
    method: TrainingMethod,
    *,
    device: torch.device,
    saving: Saving,
    report: Callable[[EpochEnd], str | None],
    held_out: Dataset | None = None,
    processes: Processes = ALONE,
) -> None:
    """Trains from the state's place to the end of the recipe; the state is changed in place and saved as it goes.

    Args:
        recipe: what to do.
        state: fresh, or restored from a checkpoint.
        images: the training images.
        method: the training method, restored from the state.
        device: where the network is.
        saving: when and where the state is saved.
        report: called at the end of every epoch, before the state is saved; a text ends the training for that reason.
        held_out: images that a method may look at between epochs; the first training images where there are none.
        processes: this process's place among the others.

    Raises:
        ModelError: if the loss is no longer finite.
        StoreError: if the state can't be saved.
        Interrupted: at the deadline.
    """
    batches = _batches(len(images), recipe.batch_size, processes.count)
    seeds = Seeds(recipe.seed)
    clock = _Clock(state, saving, method, processes)
    with deterministic(device):
        there = TrainingImages(images, device)
        watched = there if held_out is None else TrainingImages(held_out, device)
        updates = Updates(recipe, state, there, method, processes, batches=batches)
        while state.epoch < recipe.epochs and not state.stopped:
            order = torch.randperm(len(images), generator=seeds.generator("order", epoch=state.epoch))
            while state.step < batches:
                updates.batch(order[state.step * recipe.batch_size : (state.step + 1) * recipe.batch_size])
                state.step += 1
                if state.step < batches:
                    clock.tick(state)
            processes.add(state.tally.loss, state.tally.correct)
            state.tally.seen *= processes.count
            _include(recipe, state, there)
            _watch(state, watched, method, updates)
            ended = _epoch_end(recipe, state, clock)
            state.epoch, state.step, state.tally = state.epoch + 1, 0, _empty(device)
            said = report(ended)
            state.stopped = state.stopped or said or ""
            clock.tick(state, last=state.epoch == recipe.epochs or bool(state.stopped))


def _batches(images: int, batch_size: int, processes: int) -> int:
    """Steps of an epoch; what is left over is left out where a process would get a single image.

    Batch norm can't train on one.
    """
    left = images % batch_size
    return max(1, math.ceil(images / batch_size) - (0 < left < 2 * processes))


def _include(recipe: Recipe, state: State, images: TrainingImages) -> None:
    """Takes the epoch's weights into the mean, where the recipe keeps one and they count; settles a running average."""
    if state.average is None:
        return
    size, running = recipe.batch_size, averages.decay(recipe) is not None
    count = min(averages.STATISTICS, len(images)) if running else len(images)
    rows = (torch.arange(first, min(first + size, count)) for first in range(0, count, size))
    batches = (images.batch(some).x for some in rows if len(some) > 1)
    if running:
        averages.settle(state.average, batches)
    else:
        averages.include(state.average, state.model, averages.counts(recipe, state.epoch + 1), batches)


def _watch(state: State, images: TrainingImages, method: TrainingMethod, updates: Updates) -> None:
    """Lets the method look at the weights; where it ends the training, those of the epoch before are what is kept."""
    if type(method).watch is TrainingMethod.watch:
        return
    count = min(_WATCHED, len(images))
    x, y = images.batch(torch.arange(count))
    state.model.eval()
    with updates.passes():
        said = method.watch(state.model, x, y, step=updates.place("watch", count, 0, count))
    state.model.train()
    if said is None:
        state.before = {name: tensor.clone() for name, tensor in kept(state).state_dict().items()}
        return
    if state.before is not None:
        kept(state).load_state_dict(state.before)
    state.stopped = said


def _epoch_end(recipe: Recipe, state: State, clock: _Clock) -> EpochEnd:
    loss = float(state.tally.loss) / state.tally.seen
    if not math.isfinite(loss):
        raise ModelError(f"{recipe.name}: the loss is {loss} in epoch {state.epoch + 1}; a lower optimizer.lr may help")
    seconds = clock.seconds(state)
    done = state.epoch + 1
    return EpochEnd(
        epoch=done,
        loss=loss,
        accuracy=float(state.tally.correct) / state.tally.seen if recipe.task == "classification" else None,
        model=kept(state),
        seconds=seconds,
        seconds_left=0.0 if state.stopped else seconds / done * (recipe.epochs - done),
        lr=state.optimizer.param_groups[0]["lr"],
        stopped=state.stopped,
    )


def kept(state: State) -> nn.Module:
    """The network that the recipe keeps: the running average where it has one, else the last weights."""
    return state.average if state.average is not None else state.model


class _Clock:
    """Counts the training time and saves the state when it is due."""

    def __init__(self, state: State, saving: Saving, method: TrainingMethod, processes: Processes) -> None:
        self.saving, self.method, self.processes = saving, method, processes
        self._took = 0.0
        self._counted = self._saved = time.monotonic()

    def seconds(self, state: State) -> float:
        """The training time so far, this moment included."""
        now = time.monotonic()
        state.seconds += now - self._counted
        self._counted = now
        return state.seconds

    def tick(self, state: State, *, last: bool = False) -> None:
        """Saves where it is due, and stops at the deadline; where saving takes long, it is due less often."""
        if not self.processes.first:
            return
        now = time.monotonic()
        late = self.saving.deadline is not None and now >= self.saving.deadline and not last
        every = self.saving.every_seconds
        if last or late or now - self._saved >= max(every, min(50 * self._took, 10 * every)):
            self.seconds(state)
            state.method = self.method.state()
            checkpoint.save(self.saving.path, state, identity=self.saving.identity)
            self._saved = time.monotonic()
            self._took = self._saved - now
        if late:
            raise Interrupted(
                f"the time is up after {state.epoch} epochs; {self.saving.path} is saved, the same command goes on"
            )


def _empty(device: torch.device) -> Tally:
    precise = torch.float32 if device.type == "mps" else torch.float64  # Metal has no float64
    return Tally(torch.zeros((), dtype=precise, device=device), torch.zeros((), dtype=torch.int64, device=device))


def _optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    said = recipe.optimizer
    if said.name == "adam":
        return torch.optim.AdamW(model.parameters(), lr=said.lr, weight_decay=said.weight_decay)
    momentum = 0.9 if said.momentum is None else said.momentum
    return torch.optim.SGD(
        model.parameters(), lr=said.lr, momentum=momentum, weight_decay=said.weight_decay, nesterov=said.nesterov
    )


def _cuda_devices(device: torch.device) -> list[int]:
    return list(range(torch.cuda.device_count())) if device.type == "cuda" else []


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Only kernels that give the same bits every time, and the global generators left as they were found."""
    memory: Any = torch.utils.deterministic  # Any: torch doesn't declare the attribute
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    warned, filled = torch.is_deterministic_algorithms_warn_only_enabled(), memory.fill_uninitialized_memory
    if device.type == "cuda":
        # cuBLAS reads it when it starts: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        # A GPU has no deterministic kernel for some layers: torch warns, and the training goes on.
        torch.use_deterministic_algorithms(True, warn_only=device.type != "cpu")
        memory.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warned)
            memory.fill_uninitialized_memory = filled
            torch.backends.cudnn.benchmark = benchmark


@contextmanager
def cpu_threads(count: int | None) -> Iterator[None]:
    """Torch with this number of CPU threads; ``None`` leaves it as it is."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
