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

import torch
from torch import Tensor, nn

from bench.datasets.base import Dataset
from bench.errors import Interrupted, ModelError
from bench.training import checkpoint
from bench.training.augment import augment
from bench.training.checkpoint import State, Tally
from bench.training.draws import BatchDraws
from bench.training.method import Step, TrainingMethod
from bench.training.recipe import Recipe
from bench.training.schedule import factor
from bench.training.seeds import Seeds
from bench.training.strength import strength

_AVERAGE_RAMP = 10
"""The running average forgets faster in its first steps: its decay is at most (1 + t) / (10 + t)."""


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
    """

    epoch: int
    loss: float
    accuracy: float | None
    model: nn.Module
    seconds: float
    seconds_left: float


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
        model = build().to(device).train()
    average = None
    if recipe.weight_average:
        average = copy.deepcopy(model).eval()
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
    report: Callable[[EpochEnd], None],
) -> None:
    """Trains from the state's place to the end of the recipe; the state is changed in place and saved as it goes.

    Args:
        recipe: what to do.
        state: fresh, or restored from a checkpoint.
        images: the training images.
        method: the training method.
        device: where the network is.
        saving: when and where the state is saved.
        report: called at the end of every epoch.

    Raises:
        ModelError: if the loss is no longer finite.
        StoreError: if the state can't be saved.
        Interrupted: at the deadline.
    """
    batches = _batches(len(images), recipe.batch_size)
    total = recipe.epochs * batches
    seeds = Seeds(recipe.seed)
    clock = _Clock(state, saving)
    with _deterministic(device):
        while state.epoch < recipe.epochs:
            order = torch.randperm(len(images), generator=seeds.generator("order", epoch=state.epoch)).numpy()
            while state.step < batches:
                rows = order[state.step * recipe.batch_size : (state.step + 1) * recipe.batch_size]
                batch = images.batch(rows)
                x = augment(
                    batch.x, recipe.augmentation, seeds.generator("augment", epoch=state.epoch, step=state.step)
                )
                _step(recipe, state, x.to(device), batch.y.to(device), method, seeds, batches=batches, total=total)
                state.step += 1
                if state.step < batches:
                    clock.tick(state)
            ended = _epoch_end(recipe, state, clock)
            state.epoch, state.step, state.tally = state.epoch + 1, 0, _empty(device)
            clock.tick(state, last=state.epoch == recipe.epochs)
            report(ended)


def _batches(images: int, batch_size: int) -> int:
    """Steps of an epoch; a single image that is left over is left out, as batch norm can't train on one."""
    return max(1, math.ceil(images / batch_size) - (images % batch_size == 1))


def _step(
    recipe: Recipe,
    state: State,
    x: Tensor,
    y: Tensor,
    method: TrainingMethod,
    seeds: Seeds,
    *,
    batches: int,
    total: int,
) -> None:
    """One update of the weights."""
    number = state.epoch * batches + state.step
    for group in state.optimizer.param_groups:
        group["lr"] = recipe.optimizer.lr * factor(recipe.schedule, number, total)
    # Layers such as dropout draw from the global generator.
    torch.manual_seed(seeds.number("layers", epoch=state.epoch, step=state.step))
    epochs_done = number / batches
    generator = seeds.generator("method", epoch=state.epoch, step=state.step)
    place = Step(
        epochs_done,
        recipe.epochs,
        BatchDraws(generator, len(y), 0, len(y), x.device),
        recipe.label_smoothing,
        strength(recipe, epochs_done),
    )
    x_adv = method.examples(state.model, x, y, step=place)
    outcome = method.loss(state.model, x, x_adv, y, step=place)
    state.optimizer.zero_grad(set_to_none=True)
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    method.after_backward(x_adv, step=place)
    state.optimizer.step()
    with torch.no_grad():
        state.tally.loss += outcome.loss.detach() * len(y)
        if outcome.logits is not None:
            state.tally.correct += (outcome.logits.detach().argmax(1) == y).sum()
        if state.average is not None:
            _follow(state.average, state.model, min(recipe.weight_average, (1 + number) / (_AVERAGE_RAMP + number)))
    state.tally.seen += len(y)


def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves the average towards the weights; counters and statistics of layers are copied."""
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)
    for was, now in zip(average.buffers(), model.buffers(), strict=True):
        was.copy_(now)


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
        seconds_left=seconds / done * (recipe.epochs - done),
    )


def kept(state: State) -> nn.Module:
    """The network that the recipe keeps: the running average where it has one, else the last weights."""
    return state.average if state.average is not None else state.model


class _Clock:
    """Counts the training time and saves the state when it is due."""

    def __init__(self, state: State, saving: Saving) -> None:
        self.saving = saving
        self._counted = self._saved = time.monotonic()

    def seconds(self, state: State) -> float:
        """The training time so far, this moment included."""
        now = time.monotonic()
        state.seconds += now - self._counted
        self._counted = now
        return state.seconds

    def tick(self, state: State, *, last: bool = False) -> None:
        """Saves where it is due, and stops at the deadline."""
        late = self.saving.deadline is not None and time.monotonic() >= self.saving.deadline and not last
        if last or late or time.monotonic() - self._saved >= self.saving.every_seconds:
            self.seconds(state)
            checkpoint.save(self.saving.path, state, identity=self.saving.identity)
            self._saved = time.monotonic()
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
    return torch.optim.SGD(model.parameters(), lr=said.lr, momentum=momentum, weight_decay=said.weight_decay)


def _cuda_devices(device: torch.device) -> list[int]:
    return list(range(torch.cuda.device_count())) if device.type == "cuda" else []


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Only kernels that give the same bits every time, and the global generators left as they were found."""
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if device.type == "cuda":
        # cuBLAS reads it when it starts: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
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
