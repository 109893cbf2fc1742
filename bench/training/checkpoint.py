"""The state of a training on disk: written atomically, taken up again where it stopped."""

from __future__ import annotations

import dataclasses
import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import StoreError
from bench.store import atomic

SCHEMA_VERSION = 2


@dataclass(slots=True)
class Tally:
    """What the running epoch has added up so far; tensors, so that no step waits for the device.

    Attributes:
        loss: sum of the loss over images.
        correct: images of the training batches (adversarial ones under pgd) that were classified correctly; stays 0
            for a denoiser.
        seen: images so far.
    """

    loss: Tensor
    correct: Tensor
    seen: int = 0


@dataclass(slots=True)
class Best:
    """The best weights that the validation has seen.

    Attributes:
        epoch: epochs done when they were there.
        score: robust accuracy on the validation images (or clean accuracy, or PSNR in dB).
        looks: looks since then.
        weights: the network's state.
    """

    epoch: int
    score: float
    looks: int
    weights: dict[str, Tensor]


@dataclass(slots=True)
class State:
    """Everything that an uninterrupted training has at one place and a resumed one needs.

    Attributes:
        model: with the weights of this place.
        optimizer: with its moments.
        average: the running average of the weights, where the recipe keeps one.
        epoch: epochs done.
        step: steps done in the running epoch.
        seconds: time spent so far, over all interruptions.
        threads: the numbers of CPU threads it was run with, in the order of their first use.
        tally: of the running epoch.
        resumed: how often it was taken up again.
        method: what the training method keeps from step to step.
        before: the weights that would be kept at the end of the epoch before, where the method looks back.
        stopped: why the training ended before its last epoch; empty where it didn't.
        best: the best weights so far, where the recipe has validation images.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: nn.Module | None
    epoch: int
    step: int
    seconds: float
    threads: list[int]
    tally: Tally
    resumed: int = 0
    method: dict[str, Tensor] = field(default_factory=dict)
    before: dict[str, Tensor] | None = None
    stopped: str = ""
    best: Best | None = None


def save(path: Path, state: State, *, identity: dict[str, str]) -> None:
    """Writes a state so that a kill at any moment leaves the old file or the new one.

    Args:
        path: the file.
        state: what is written.
        identity: what the training is made from (digests of recipe, images, architecture).

    Raises:
        StoreError: where the disk is full or not writable; the old file is untouched.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "identity": identity,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": state.average.state_dict() if state.average is not None else None,
        "epoch": state.epoch,
        "step": state.step,
        "seconds": state.seconds,
        "threads": state.threads,
        "tally": [state.tally.loss, state.tally.correct, state.tally.seen],
        "resumed": state.resumed,
        "method": state.method,
        "before": state.before,
        "stopped": state.stopped,
        "best": dataclasses.asdict(state.best) if state.best is not None else None,
    }
    # torch.save itself turns a full disk into an error without a reason.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    atomic.write(path, lambda temporary: _write(temporary, buffer.getvalue()))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def restore(path: Path, state: State, *, identity: dict[str, str], device: torch.device, epochs: int) -> None:
    """Fills a fresh state with what a checkpoint holds.

    Args:
        path: the file.
        state: of the same recipe, at its start; changed in place.
        identity: what this training is made from; the checkpoint's must be the same.
        device: where the tensors go.
        epochs: of the recipe; where all are done, the training isn't taken up again, whatever is measured afterwards.

    Raises:
        StoreError: where the file can't be read, or belongs to another training.
    """
    content = _read(path, device)
    if content["schema_version"] != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: schema version {content['schema_version']} of another bench; delete it to start anew"
        )
    other = sorted(key for key in identity if content["identity"].get(key, "") != identity[key])
    if other:
        raise StoreError(
            f"{path}: this checkpoint belongs to another training (other {', '.join(other)}); "
            "train into another directory, or start anew (--restart)"
        )
    state.model.load_state_dict(content["model"])
    state.optimizer.load_state_dict(content["optimizer"])
    if state.average is not None:
        state.average.load_state_dict(content["average"])
    state.epoch, state.step, state.seconds = content["epoch"], content["step"], content["seconds"]
    state.tally = Tally(*content["tally"])
    state.method, state.before, state.stopped = content["method"], content["before"], content["stopped"]
    over = state.stopped or state.epoch >= epochs
    state.threads = [*content["threads"], *(n for n in state.threads if n not in content["threads"] and not over)]
    state.resumed = content["resumed"] + (not over)
    state.best = Best(**content["best"]) if content["best"] is not None else None


def _read(path: Path, device: torch.device) -> dict[str, Any]:  # Any: what torch.load returns, checked by its keys
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: can't read the checkpoint: {error.strerror}") from error
    try:
        content = torch.load(io.BytesIO(raw), map_location=device, weights_only=True)
    except (RuntimeError, ValueError, OSError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise StoreError(
            f"{path}: the checkpoint is damaged ({type(error).__name__}); delete it to start anew"
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content or "identity" not in content:
        raise StoreError(f"{path}: not a checkpoint of bench; delete it to start anew")
    return content
