"""``bench train``: from a recipe to weights and their card."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from bench import datasets, heap
from bench.datasets.base import Dataset
from bench.errors import ModelError
from bench.models.architectures import building
from bench.runner import devices
from bench.store import atomic
from bench.suites.places import Places
from bench.training import TABLE, card, checkpoint, initial, loop, measure, precision, processes, psnr, validation
from bench.training.card import Card, DenoiserCard, TrainingFacts
from bench.training.checkpoint import State
from bench.training.load import load
from bench.training.log import Log
from bench.training.loop import EpochEnd, Saving
from bench.training.measuring import Measuring
from bench.training.method import TrainingMethod
from bench.training.method_parameters import AdversarialParams
from bench.training.processes import Processes
from bench.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of what happens.

    Attributes:
        phase: ``train`` at the end of an epoch, ``measure`` while the card is made.
        epoch: epochs done.
        epochs: epochs in all.
        loss: mean training loss of the epoch.
        clean_accuracy: on a few test images, 0 to 1; ``None`` where it wasn't measured in this epoch.
        robust_accuracy: the same under ten steps of the training attack.
        seconds: training time so far.
        seconds_left: estimate of the training time that remains.
        text: the line.
        psnr: of a denoiser, in dB on a few noisy test images, denoised; ``None`` as above.
    """

    phase: Literal["train", "measure"]
    epoch: int
    epochs: int
    loss: float | None
    clean_accuracy: float | None
    robust_accuracy: float | None
    seconds: float
    seconds_left: float
    text: str
    psnr: float | None = None


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training leaves.

    Attributes:
        weights: the safetensors file: the best weights where the recipe has validation images, else the last.
        card_path: the JSON file beside it.
        card: what stands in it.
    """

    weights: Path
    card_path: Path
    card: Card | DenoiserCard


def train(
    recipe_path: Path | str,
    *,
    overrides: Sequence[str] = (),
    output: Path | str = Path("models"),
    device: str = "auto",
    resume: bool = True,
    progress: Callable[[Progress], None] | None = None,
    places: Places | None = None,
    command: str | None = None,
    checkpoint_seconds: float = 20.0,
    time_budget: float | None = None,
    tensorboard: bool = False,
) -> TrainingResult | None:
    """Trains the model of a recipe, measures it, and writes ``<name>.safetensors`` and ``<name>.json``.

    A training that was stopped or killed goes on from its last checkpoint (``<name>.checkpoint`` in the same directory)
    when it is started again, and gives the same weights, bit for bit, as one that wasn't, with the same number of
    threads.

    Args:
        recipe_path: the YAML file.
        overrides: changes such as ``epochs=5``.
        output: directory for the files.
        device: ``auto``, ``cpu``, ``cuda:0``, ``mps``.
        resume: whether a checkpoint is taken up; else the training starts anew and replaces it.
        progress: called at the end of every epoch, and while the card is made.
        places: where data lies.
        command: how it was called, for the card.
        checkpoint_seconds: time between two checkpoints.
        time_budget: seconds after which the training stops, saved; it doesn't change the weights, only when they are
            finished.
        tensorboard: whether TensorBoard's event files are written, to ``<name>.tensorboard``.

    Returns:
        What is left; ``None`` in the other processes of torch's launcher, as the first one measures and writes.

    Raises:
        SuiteError: if the recipe can't work.
        DatasetError: if its images can't be had.
        ModelError: if the network doesn't fit the images, weights that it starts from don't fit the network or aren't there,
            or the loss is no longer finite.
        StoreError: if something can't be written, or the checkpoint belongs to another training.
        Interrupted: when the time budget is spent.
    """
    deadline = time.monotonic() + time_budget if time_budget is not None else None
    path = Path(recipe_path)
    recipe = load(path, overrides=overrides)
    with heap.kept(), processes.joined() as here, loop.cpu_threads(recipe.threads), torch.random.fork_rng(devices=[]):
        _check_processes(recipe, here)
        several = here.count > 1 and device in ("auto", "cuda") and torch.cuda.is_available()
        return _Training(
            recipe,
            path=path,
            output=Path(output),
            device=devices.choose(f"cuda:{here.local}" if several else device),
            progress=progress if progress is not None and here.first else (lambda line: None),
            here=here,
            tensorboard=tensorboard,
            places=places or Places(),
            command=command or " ".join(["bench train", str(recipe_path), *(f"--set {text}" for text in overrides)]),
        ).run(resume=resume, checkpoint_seconds=checkpoint_seconds, deadline=deadline)


def method_of(recipe: Recipe) -> TrainingMethod:
    """The recipe's training method, at its start."""
    module, _, name = TABLE[recipe.method.name].target.partition(":")
    method: TrainingMethod = getattr(import_module(module), name)(recipe.method)
    return method


def _check_processes(recipe: Recipe, here: Processes) -> None:
    """Refuses what several processes can't do alike.

    Raises:
        ModelError: naming what to change.
    """
    if here.count > 1 and recipe.method.name == "free":
        raise ModelError("free training keeps a perturbation of its own in each process: train it in one")
    if recipe.batch_size < 2 * here.count:
        raise ModelError(
            f"batch_size: {recipe.batch_size} images for {here.count} processes (accepted: at least {2 * here.count})"
        )


class _Training:
    """One training: its recipe, its images, its files."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        path: Path,
        output: Path,
        device: torch.device,
        progress: Callable[[Progress], None],
        places: Places,
        command: str,
        here: Processes,
        tensorboard: bool,
    ) -> None:
        self.here, self.output, self.tensorboard = here, output, tensorboard
        self.recipe, self.path, self.device = recipe, path, device
        self.progress, self.command = progress, command
        self.checkpoint = output / f"{recipe.name}.checkpoint"
        self.places, self.init_digest = places, initial.digest(recipe.init)
        self.train_images = self.rest = datasets.load(recipe.dataset, places)
        self.held_out: Dataset | None = None
        if recipe.validation is not None:
            self.rest, self.held_out = validation.split(self.train_images, recipe.validation, recipe.seed)
        self.test_images = datasets.load(recipe.test_images, places)
        few = recipe.test_images.model_copy(
            update={"samples": min(recipe.evaluation.samples, len(self.test_images)) or 1}
        )
        self.few_images = datasets.load(few, places)

    def run(self, *, resume: bool, checkpoint_seconds: float, deadline: float | None) -> TrainingResult | None:
        """Trains, and leaves the weights with their card."""
        self._check_network()
        self._check_output()
        identity = self._identity()
        self.state = state = loop.fresh(self.recipe, self._first, self.device)
        method = method_of(self.recipe)
        if resume and self.checkpoint.exists():
            checkpoint.restore(self.checkpoint, state, identity=identity, device=self.device, epochs=self.recipe.epochs)
            if state.method:
                method.restore(state.method)
        if self.here.first:
            events = self.output / f"{self.recipe.name}.tensorboard" if self.tensorboard else None
            path = self.output / f"{self.recipe.name}.log.jsonl"
            self.log: Log | None = Log(path, epochs=state.epoch, tensorboard=events)
        else:
            self.log = None
        saving = Saving(self.checkpoint, identity, checkpoint_seconds, deadline)
        loop.fit(
            self.recipe,
            state,
            self.rest,
            method,
            device=self.device,
            saving=saving,
            report=self._epoch,
            held_out=self.held_out,
            processes=self.here,
        )
        return self._finished(state) if self.here.first else None

    def _finished(self, state: State) -> TrainingResult:
        """Writes the weights, reads them back and measures them."""
        facts = TrainingFacts(
            epochs=state.epoch,
            seconds=round(state.seconds, 1),
            device=self.device.type,
            processor=card.processor(self.device),
            threads=tuple(state.threads),
            resumed=state.resumed,
            precision=precision.resolved(self.recipe, self.device),
            processes=self.here.count,
            stopped=state.stopped,
            init_sha256=self.init_digest,
        )
        network = loop.kept(state)
        if state.best is not None:
            self._written(f"{self.recipe.name}_last", network, facts)
            network.load_state_dict(state.best.weights)
            facts = facts.model_copy(update={"best_epoch": state.best.epoch, "validation": round(state.best.score, 6)})
        result = self._written(self.recipe.name, network, facts)
        self.checkpoint.unlink(missing_ok=True)
        return result

    def _written(self, name: str, network: nn.Module, facts: TrainingFacts) -> TrainingResult:
        """Weights on disk and their card."""
        weights = self.output / f"{name}.safetensors"
        card.save_weights(weights, network, self.recipe.save_dtype)
        measuring = Measuring(
            self.recipe,
            self.train_images,
            self.test_images,
            self.device,
            self.command,
            tell=lambda text: self._tell(facts, text),
        )
        made = measuring.write_card(self._build(), weights, facts)
        return TrainingResult(weights, weights.with_suffix(".json"), made)

    def _build(self) -> nn.Module:
        """The network with fresh weights."""
        recipe = self.recipe
        return building.build(recipe.architecture, recipe.architecture_args, num_classes=self.train_images.num_classes)

    def _first(self) -> nn.Module:
        """The network that the training starts from."""
        return initial.fill(self._build(), self.recipe.init, self.recipe.architecture, self.places)

    def _check_network(self) -> None:
        """Refuses a network that doesn't fit the images or the method before anything is trained."""
        network, images = self._first(), self.train_images
        classes = (images.num_classes, self.test_images.num_classes)
        try:
            with torch.no_grad():
                shape = tuple(network(images.batch(range(1)).x).shape)
        except (RuntimeError, AssertionError, ValueError) as error:  # timm asserts the size
            raise ModelError(
                f"{self.recipe.architecture} doesn't take images of shape {images.shape}: {error}"
            ) from error
        if self.recipe.task == "restoration":
            if shape != (1, *images.shape) or images.shape != self.test_images.shape:
                raise ModelError(
                    f"{self.recipe.architecture} gives an output of shape {shape}; the method {self.recipe.method.name} "
                    f"needs images to images (denoising_autoencoder), the training images have shape {images.shape} "
                    f"and the test images {self.test_images.shape}"
                )
            return
        if shape != (1, classes[0]) or classes[0] != classes[1]:
            raise ModelError(
                f"{self.recipe.architecture} gives logits of shape {shape}, but the training images have {classes[0]} "
                f"classes and the test images {classes[1]}; architecture_args may help"
            )

    def _check_output(self) -> None:
        """Refuses a directory that can't be had before anything is trained."""
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise atomic.explain(error, self.output) from error

    def _identity(self) -> dict[str, str]:
        """What the weights depend on, so that no checkpoint is taken up by another training."""
        return {
            "recipe": self.recipe.model_copy(update={"save_dtype": "float32"}).digest(),  # they are rounded at the end
            "images": self.train_images.digest,
            "architecture": building.code_digest(self.recipe.architecture, self.recipe.architecture_args),
            "precision": precision.resolved(self.recipe, self.device),
            "processes": str(self.here.count),
            "init": self.init_digest,
        }

    def _epoch(self, end: EpochEnd) -> str | None:
        """Validates and looks at a few test images where it is due, and tells; a text ends the training."""
        score, why = self._validate(end)
        if self.log is not None:
            self._tell_epoch(end, score, why or end.stopped)
        return why

    def _validate(self, end: EpochEnd) -> tuple[float | None, str | None]:
        """The score on the held-out images where it is due, and why the training ends here."""
        said, state = self.recipe.validation, self.state
        last = end.epoch == self.recipe.epochs or bool(end.stopped)
        if said is None or self.held_out is None or (end.epoch % said.every and not last):
            return None, None
        found = validation.score(end.model, self.held_out, self.recipe, self.device)
        score = self.here.agreed(found, self.device)
        state.best = validation.better(state.best, end.model, end.epoch, score)
        if said.patience is None or state.best.looks < said.patience or last:
            return score, None
        return score, f"nothing better in {said.patience} looks at the held-out images since epoch {state.best.epoch}"

    def _tell_epoch(self, end: EpochEnd, score: float | None, stopped: str) -> None:
        """One line for people, and one for programs."""
        recipe, clean, robust, quality = self.recipe, None, None, None
        last = end.epoch == recipe.epochs or bool(stopped)
        due = recipe.evaluation.samples and (end.epoch % recipe.evaluation.every == 0 or last)
        if due and recipe.task == "restoration":
            found = psnr.denoised(end.model, self.few_images, recipe.measured_std, self.device)
            quality = float(found.denoised.mean())
        elif due:
            params = recipe.method if isinstance(recipe.method, AdversarialParams) else None
            clean, robust = measure.watch(end.model, self.few_images, params, self.device)
        digits = 3 if recipe.task == "classification" else 5
        seen = f"epoch {end.epoch}/{recipe.epochs}  loss {end.loss:.{digits}f}"
        looked = "" if clean is None else f"  clean {clean:.1%}"
        looked += "" if robust is None else f"  robust {robust:.1%} (PGD-{measure.WATCH_STEPS})"
        looked += "" if quality is None else f"  PSNR {quality:.1f} dB"
        if score is not None:
            looked += f"  held out {score:.1%}" if recipe.task == "classification" else f"  held out {score:.1f} dB"
        text = f"{seen}{looked}  {_minutes(end.seconds)} done, {_minutes(end.seconds_left)} left"
        text += f"; ends here: {stopped}" if stopped else ""
        times = (end.seconds, end.seconds_left)
        self.progress(Progress("train", end.epoch, recipe.epochs, end.loss, clean, robust, *times, text, quality))
        assert self.log is not None
        numbers = {"loss": end.loss, "train_accuracy": end.accuracy, "lr": end.lr, "clean_accuracy": clean}
        numbers |= {"robust_accuracy": robust, "psnr": quality, "held_out": score, "seconds": round(end.seconds, 1)}
        self.log.write(end.epoch, numbers)

    def _tell(self, facts: TrainingFacts, text: str) -> None:
        self.progress(Progress("measure", facts.epochs, facts.epochs, None, None, None, facts.seconds, 0.0, text))


def _minutes(seconds: float) -> str:
    """``3:07``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
