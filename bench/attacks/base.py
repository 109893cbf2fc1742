"""What every attack takes and gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from bench.attacks.draws import Draws
from bench.attacks.listener import Listener, nobody
from bench.store.parts import StageCost
from bench.store.records import Flag
from bench.threat_models.base import ThreatModel


class PassCounter(Protocol):
    """Sample-passes through a model so far."""

    forward: int
    backward: int


class Target(Protocol):
    """The model under attack, defended or not: images in [0, 1] to logits, in float32.

    Its forward pass is the real one unless ``approximate``; its gradient is exact, or a defense's surrogate (BPDA).
    """

    num_classes: int
    microbatch: int | None
    passes: Any  # Any: a PassCounter; the class of the wrapper stands below this layer

    @property
    def stochastic(self) -> bool:
        """Whether two passes on one image may differ: gradients are averaged over draws, a success is a majority."""
        ...

    @property
    def rejects(self) -> bool:
        """Whether the logits have a column K: where it is the largest, the image is rejected."""
        ...

    @property
    def approximate(self) -> bool:
        """Whether what the attacker sees isn't the real forward pass, so that successes are claims."""
        ...

    @property
    def real(self) -> Target:
        """The same model with the real forward pass."""
        ...

    @property
    def verifying_draws(self) -> int:
        """Fresh draws by which a claim is verified where it is stochastic."""
        ...

    def drawing(self, keys: Tensor) -> AbstractContextManager[None]:
        """Inside, passes of ``len(keys)`` images draw from these keys, one for each image, int64."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Logits of shape (N, K), or (N, K + 1), for images of shape (N, C, H, W)."""
        ...

    def compiled(self, size: int) -> AbstractContextManager[None]:
        """Inside, passes of nearly ``size`` images go through the model as compiled for them."""
        ...

    def graphed(self, size: int) -> AbstractContextManager[None]:
        """Inside, passes of up to ``size`` images go through CUDA graphs of the model."""
        ...

    def renew(self) -> None:
        """Lets graphs go that were made with other weights than the model has now."""
        ...


@dataclass(frozen=True, slots=True)
class Samples:
    """What is attacked: images that the model classifies correctly.

    Attributes:
        x: shape (N, C, H, W), float32 in [0, 1], on the model's device.
        y: labels, shape (N,), int64.
        ids: N stable sample ids.
    """

    x: Tensor
    y: Tensor
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Tensor) -> Samples:
        """Some of the samples."""
        return Samples(self.x[indices], self.y[indices], tuple(self.ids[i] for i in indices.tolist()))


@dataclass(frozen=True, slots=True)
class AttackContext:
    """How an attack is run.

    Attributes:
        threat_model: what it may change.
        draws: its randomness.
        search: ``first_success`` stops a sample at its first success, ``strongest`` spends the whole budget and keeps the
            point of highest loss.
        batch_size: the most samples of one pass; the engine halves it when memory runs out.
        report: hears how the attack goes on.
        precision: of the search: ``float32``, or ``bfloat16`` or ``tf32`` (a GPU's) with every success verified in float32.
        pinned: whether every pass has exactly ``batch_size`` rows, so that kernels give each sample the same bits in
            every batch.
        compiled: whether the search runs on the model as compiled for passes of ``batch_size`` rows, with every success
            verified on the model itself.
        graphed: whether the search runs on CUDA graphs of the model, with every success verified on the model itself.
        fill: whether the free rows of a batch go to later runs and points of its samples: for devices that take a full batch
            as fast as a part of one. Verdicts are the same, passes are more; which success a sample shows depends on the batch.
        stage: which part of an ensemble this is; part of every draw.
        eot_iter: passes whose losses and gradients are averaged at every point of a stochastic model.
    """

    threat_model: ThreatModel
    draws: Draws
    search: str = "first_success"
    batch_size: int = 256
    report: Listener = nobody
    precision: str = "float32"
    pinned: bool = False
    compiled: bool = False
    graphed: bool = False
    fill: bool = False
    stage: str = ""
    eot_iter: int = 1

    def exact(self) -> AttackContext:
        """The same in float32, on the model itself."""
        return replace(self, precision="float32", compiled=False, graphed=False)

    def closer(self, device: torch.device) -> AttackContext:
        """A search in a precision near float32's, for what one in bfloat16 may have missed.

        Args:
            device: where the model runs.
        """
        near = near_float32(device)
        return self.exact() if near == "float32" else replace(self, precision=near)


def near_float32(device: torch.device) -> str:
    """The precision of a search that tells nearly as much as float32.

    On a GPU that is TF32, in which the official AutoAttack runs there, too: its float32 takes many times longer.
    """
    return "tf32" if device.type == "cuda" else "float32"


@dataclass(slots=True)
class AttackResult:
    """What an attack found.

    Attributes:
        x_adv: the point for each sample as the attack leaves it, unprojected, shape (N, C, H, W).
        iterations: steps spent on each sample, shape (N,), int64; -1 where a library doesn't tell.
        forwards: forward passes on each sample, shape (N,), float64.
        backwards: backward passes on each sample, shape (N,), float64.
        stage: stage of an ensemble that each point comes from, N strings; empty without stages.
        stages: what each stage cost.
        flags: what a reader of the number must know.
        zero_gradient: samples on which every gradient was zero, so that the attack never moved, shape (N,), bool;
            ``None`` where nobody looked.
        eot_agreement: cosine between the gradients of two halves of the draws at the first point of each sample, shape
            (N,), NaN where there was none; ``None`` for models that aren't stochastic. Near 1 the average has converged.
        queries: the query with which an adversarial point inside eps was first met, from 1, 0 where none was, shape (N,),
            int64; ``None`` where nobody counted.
        claimed: which points the attack says are adversarial, shape (N,), bool; ``None`` where it says nothing, as our own do,
            whose successes are verified as they search. What the judge finds otherwise is an error, never robustness.
    """

    x_adv: Tensor
    iterations: Tensor
    forwards: Tensor
    backwards: Tensor
    stage: list[str]
    stages: tuple[StageCost, ...] = ()
    flags: tuple[Flag, ...] = ()
    zero_gradient: Tensor | None = None
    eot_agreement: Tensor | None = None
    queries: Tensor | None = None
    claimed: Tensor | None = None

    @classmethod
    def untouched(cls, samples: Samples) -> AttackResult:
        """The clean images, at no cost: where an attack starts."""
        n = len(samples)
        zeros = torch.zeros(n, dtype=torch.float64)
        iterations = torch.zeros(n, dtype=torch.int64)
        return cls(samples.x.clone(), iterations, zeros, zeros.clone(), [""] * n)


class Attack(ABC):
    """Searches an adversarial example inside a threat model.

    Attributes:
        norms: norms that it works under.
        minimum_norm: whether it looks for the smallest perturbation, which may lie beyond eps.
        revision: raised when its verdicts can change; part of a cell's identity.
        library: distributions whose version can change its verdicts; part of a cell's identity.
        fine: whether it lives on differences between losses that bfloat16 rounds away: where the precision is bfloat16, it
            searches nearer to float32 (:meth:`AttackContext.closer`).
        chunked: whether it needs fixed chunks of samples, because a library draws from global generators.
        joint: whether it attacks a detector and its classifier together: it passes logits through
            :func:`bench.attacks.losses.answers`, so that a rejected point is no success, or asks a model that does
            (:mod:`bench.attacks.backends.joint`).
    """

    norms: ClassVar[tuple[str, ...]]
    minimum_norm: ClassVar[bool] = False
    revision: ClassVar[int] = 1
    library: ClassVar[tuple[str, ...]] = ()
    fine: ClassVar[bool] = False
    chunked: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    backends: ClassVar[dict[str, str]] = {}
    """Other implementations of the same attack, as ``module:class``."""

    @classmethod
    def create(cls, params: Any, *, norm: str, backend: str | None) -> Attack:  # Any: each attack's own parameters
        """The attack for a norm and a backend; the class itself unless ``backends`` names another's."""
        if backend in cls.backends:
            module, _, name = cls.backends[backend].partition(":")
            attack: Attack = getattr(import_module(module), name)(params)
            return attack
        return cls(params)

    def __init__(self, params: Any) -> None:  # Any: each attack's own parameters
        self.params = params

    @abstractmethod
    def run(self, model: Target, samples: Samples, context: AttackContext) -> AttackResult:
        """Attacks every sample.

        Args:
            model: the model under attack.
            samples: images that it classifies correctly.
            context: threat model, draws, search and batch size.
        """

    def precisions(self, asked: str, device: torch.device) -> tuple[str, ...]:
        """What it searches in, as records say it; verdicts are always float32.

        Args:
            asked: the precision of the search as the context says it.
            device: where the model runs.
        """
        if self.chunked:  # libraries know float32 only
            return ("float32",)
        return (near_float32(device) if self.fine and asked == "bfloat16" else asked,)

    def passes(self, num_classes: int) -> tuple[float, float]:
        """The most (forward, backward) passes that it spends on one sample, for ``bench plan``."""
        raise NotImplementedError
