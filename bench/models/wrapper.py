"""A model as the harness sees it: in eval mode, normalised inside, its passes counted, its outputs checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.errors import ModelError
from bench.models.compiled import StaticNetwork
from bench.models.folded import FoldedNetwork
from bench.models.graphs import GraphedNetwork
from bench.models.input_gradients import fast_input_gradients
from bench.models.normalisation import Planes, normalised

_RAISED = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    ImportError,
    OSError,
)
"""What a network may raise on images that it wasn't made for; exhausted memory is let through."""
_SUM_TOLERANCE = 1e-3


class PassCount(NamedTuple):
    """Sample-passes: one image through the network once, forward or backward."""

    forward: int
    backward: int


class Passes:
    """Counts the passes of a model; they only go up until :meth:`reset`."""

    __slots__ = ("backward", "forward")

    def __init__(self) -> None:
        self.forward, self.backward = 0, 0

    def snapshot(self) -> PassCount:
        """The counts so far."""
        return PassCount(self.forward, self.backward)

    def reset(self) -> None:
        """Starts again from 0."""
        self.forward, self.backward = 0, 0

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Passes inside, which tell nothing of an image's class, don't count."""
        before = self.snapshot()
        try:
            yield
        finally:
            self.forward, self.backward = before


class CountedModel(nn.Module):
    """Images in [0, 1] to logits, with the passes counted.

    The module is put into eval mode and stays there, and its parameters need no gradients: both change the module that
    was given.

    A pass counts the samples that go through it. Pieces of a pass (``microbatch``) that are computed a second time to
    save memory are not counted again, so that the count doesn't depend on the memory of the machine.

    Args:
        module: images (N, C, H, W) to logits (N, K).
        num_classes: K.
        mean: normalisation, one number per channel in [0, 1] units; goes with ``std``.
        std: normalisation, one number above 0 per channel.

    Attributes:
        module: the network itself.
        num_classes: K.
        passes: the counts.
        microbatch: the most samples that go through the network at a time; ``None`` for all at once. Smaller pieces
            take less memory, for the gradients too, and give the same logits and gradients.

    Raises:
        ModelError: if mean and std don't go together.
    """

    stochastic = False
    rejects = False
    approximate = False
    verifying_draws = 1

    def __init__(
        self,
        module: nn.Module,
        *,
        num_classes: int,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.num_classes = num_classes
        self.passes = Passes()
        self.microbatch: int | None = None
        self._static: StaticNetwork | None = None
        self._graphed: GraphedNetwork | None = None
        self._through: Callable[[Tensor], Tensor] | None = None
        self._planes: Planes = {}
        self.mean: Tensor | None
        self.std: Tensor | None
        self.register_buffer("mean", _column(mean), persistent=False)
        self.register_buffer("std", _column(std), persistent=False)
        if (mean is None) != (std is None) or (mean is not None and std is not None and len(mean) != len(std)):
            raise ModelError(f"mean and std go together, one number per channel each; got {mean} and {std}")
        if std is not None and min(std) <= 0:
            raise ModelError(f"std: {list(std)}: must be above 0")
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode, whatever is asked for: attacks and defenses see the model that is judged."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, K), float32.

        Args:
            x: images in [0, 1], shape (N, C, H, W).
        """
        if self.microbatch is None or len(x) <= self.microbatch:
            logits = self._logits(x)
        else:
            logits = torch.cat(list(self._pieces(x, self.microbatch)))
        logits = logits.float()
        self.passes.forward += len(x)
        if logits.requires_grad and x.requires_grad:
            self._count_backward(logits, len(x))
        return logits

    @property
    def real(self) -> CountedModel:
        """The model as the judge sees it: an attacker sees the same."""
        return self

    @contextmanager
    def drawing(self, keys: Tensor) -> Iterator[None]:
        """Random models draw from keys; this one has nothing to draw."""
        yield

    @contextmanager
    def compiled(self, size: int) -> Iterator[None]:
        """Inside, passes of nearly that many images go through a compiled network; it is kept for the next time.

        Args:
            size: images of a pass, at least 2.
        """
        if self._static is None or self._static.size != size:
            self._static = StaticNetwork(self._network, size)
        with self._going(self._static):
            yield

    @contextmanager
    def graphed(self, size: int) -> Iterator[None]:
        """Inside, passes of up to that many images go through CUDA graphs of the network, which are kept for the next time.

        Batch norms are folded into convolutions where that gives the same.

        Args:
            size: the most images of a pass.
        """
        if self._graphed is None or self._graphed.most != size:
            self._forget(self._graphed)
            folded = FoldedNetwork(self._network, self.module, lambda module: partial(self._network, module=module))
            self._graphed = GraphedNetwork(folded, self.module, size)
        with self._going(self._graphed):
            yield

    @contextmanager
    def _going(self, through: Callable[[Tensor], Tensor]) -> Iterator[None]:
        before, self._through = self._through, through
        try:
            yield
        finally:
            self._through = before

    def renew(self) -> None:
        """Lets the graphs go where the weights aren't those that they were made with: called before every search."""
        if self._graphed is not None and self._graphed.outdated():
            self._forget(self._graphed)
            self._graphed = None

    def forget_compiled(self) -> None:
        """Lets the compiled network and the graphs go: they hold the model, and whatever the model holds."""
        self._forget(self._static)
        self._forget(self._graphed)
        self._static = self._graphed = None

    @staticmethod
    def _forget(fast: StaticNetwork | GraphedNetwork | None) -> None:
        if fast is not None:
            fast.forget()

    def check(self, x: Tensor) -> None:
        """Tries the model on images: it must give finite logits of the right shape. Counts no passes.

        Args:
            x: images in [0, 1], shape (N, C, H, W), on the model's device.

        Raises:
            ModelError: with what was seen.
        """
        try:
            with torch.no_grad():
                logits = self._logits(x)
        except torch.OutOfMemoryError:
            raise
        except _RAISED as error:
            shape = tuple(x.shape)
            text = f"the model raises {type(error).__name__} on images of shape {shape}: {_first_line(error)}"
            raise ModelError(text) from error
        _check_logits(logits, len(x), self.num_classes)

    def looks_like_probabilities(self, x: Tensor) -> bool:
        """Whether the outputs lie in [0, 1] and sum to 1 for every image, as after a softmax. Counts no passes.

        Args:
            x: images in [0, 1], shape (N, C, H, W), on the model's device.
        """
        with torch.no_grad():
            logits = self._logits(x).float()
        inside = bool((logits >= 0).all() and (logits <= 1).all())
        return inside and bool(((logits.sum(1) - 1).abs() < _SUM_TOLERANCE).all())

    def _logits(self, x: Tensor) -> Tensor:
        """What the network gives for images in [0, 1]."""
        logits = (self._through or self._network)(x)
        if not isinstance(logits, Tensor):
            raise ModelError(f"the model gives {type(logits).__name__}, not a tensor of logits")
        return logits

    def _network(self, x: Tensor, module: nn.Module | None = None) -> Tensor:
        """The network on normalised images, or another module in its place."""
        if self.mean is not None and self.std is not None:
            x = normalised(x, self.mean, self.std, self._planes)
        else:
            x = x.clone()  # a network that normalises in place would change the clean images
        module = module or self.module
        on_cpu = x.device.type == "cpu" and not torch.compiler.is_compiling()
        with fast_input_gradients(module) if on_cpu and x.requires_grad and torch.is_grad_enabled() else nullcontext():
            logits: Tensor = module(x)
        return logits

    def _pieces(self, x: Tensor, size: int) -> Iterator[Tensor]:
        """Logits of ``size`` images at a time; what the backward pass needs is computed again then."""
        again = torch.is_grad_enabled() and x.requires_grad
        for piece in torch.split(x, size):
            yield checkpoint(self._logits, piece, use_reentrant=False) if again else self._logits(piece)

    def _count_backward(self, logits: Tensor, count: int) -> None:
        """Adds to the count whenever a gradient comes back through these logits."""
        passes = self.passes  # the hook must not hold the model

        def count_pass(_: Tensor) -> None:
            passes.backward += count

        logits.register_hook(count_pass)  # type: ignore[no-untyped-call]


def _column(values: Sequence[float] | None) -> Tensor | None:
    return None if values is None else torch.tensor(list(values), dtype=torch.float32).view(1, -1, 1, 1)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _check_logits(logits: Tensor, count: int, num_classes: int) -> None:
    """Floats, finite, shape (count, num_classes)."""
    if not logits.dtype.is_floating_point:
        raise ModelError(f"the model gives {logits.dtype} (accepted: floating-point logits, not predicted classes)")
    shape = tuple(logits.shape)
    if logits.dim() != 2 or shape[0] != count:
        raise ModelError(f"the model gives an output of shape {shape} for {count} images (accepted: ({count}, K))")
    if shape[1] != num_classes:
        raise ModelError(f"the model gives {shape[1]} logits, the dataset has {num_classes} classes")
    finite = torch.isfinite(logits).all(1)
    if not bool(finite.all()):
        bad = int((~finite).sum())
        kind = "NaN" if bool(torch.isnan(logits).any()) else "infinite logits"
        raise ModelError(f"the model gives {kind} for {bad} of {count} images; every logit must be finite")
