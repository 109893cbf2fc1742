"""A network as CUDA graphs: its kernels are recorded once for each batch size and replayed, without Python in between.

Small networks spend more time on starting kernels than in them; a replay starts them all at once.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from bench.models.compiled import TOLERANCE, Kind, Network, kind_of, values
from bench.models.folded import changes, hooked, weights

ASKED = 3
"""A kind of pass is recorded when it comes up again so often: recording costs a few passes and memory."""
SMALLEST = 8
"""Batches are filled up to at least this many rows."""
LARGEST = 256
"""Nothing larger is recorded: a ResNet-18's kernels then run for longer than it takes to start them."""
LEFT = 0.25
"""Nothing is recorded where less than this share of the device's memory would be left."""

_log = logging.getLogger(__name__)


class GraphedNetwork:
    """A network whose passes of up to a number of images are replayed from CUDA graphs; others run as they are.

    Batches are filled up to one of a few sizes with rows that nobody reads. The first replay of each kind is compared with the
    network, logits and gradients; where it can't be recorded, or differs, the network goes on as it is, and a warning says
    so. A network that has hooks at the moment runs as it is, as a graph would not call them, and so does one whose weights have
    been changed in place; :meth:`outdated` tells of every change.

    Args:
        network: normalised images (B, C, H, W) to logits (B, K), deterministic, without side effects.
        module: what it runs, whose hooks count.
        most: the most images of a replayed pass.

    Attributes:
        most: the same.
        failure: why it isn't recorded; empty while it is.
    """

    def __init__(self, network: Network, module: nn.Module, most: int) -> None:
        self.network, self.most, self.failure = network, most, ""
        self._module = module
        self._asked: dict[Kind, int] = {}
        self._graphs: dict[Kind, _Graph] = {}
        self._shared: _Shared | None = None
        self._changes = changes(module)
        self._weights = [one.detach().clone() for one in weights(module)]

    def __call__(self, x: Tensor) -> Tensor:
        """Logits, shape (B, K)."""
        if self.failure or x.device.type != "cuda" or not 1 <= len(x) <= self.most:
            return self.network(x)
        if hooked(self._module) or changes(self._module) != self._changes:
            return self.network(x)
        size = filled(len(x), self.most)
        if size > LARGEST:
            return self.network(x)
        kind = (size, *kind_of(x), torch.backends.cudnn.allow_tf32)
        self._asked[kind] = self._asked.get(kind, 0) + 1
        if self._asked[kind] < ASKED or not x.is_floating_point():
            return self.network(x)
        padded = x if len(x) == size else torch.cat([x, x.detach()[-1:].expand(size - len(x), *x.shape[1:])])
        if kind not in self._graphs and not self._record(kind, padded):
            return self.network(x)
        return self._replayed(kind, padded)[: len(x)]

    def outdated(self) -> bool:
        """Whether the module has other weights by now than those that passes are made with."""
        now = list(weights(self._module))
        return len(now) != len(self._weights) or not all(map(_same, now, self._weights))

    def forget(self) -> None:
        """Lets go of what was recorded, and of its memory; the network runs as it is from now on."""
        self.failure = self.failure or "forgotten"
        self._graphs.clear()
        self._shared = None

    def _replayed(self, kind: Kind, x: Tensor) -> Tensor:
        replayed: Tensor = _Replay.apply(x, self._graphs[kind])  # type: ignore[no-untyped-call]
        return replayed

    def _record(self, kind: Kind, x: Tensor) -> bool:
        """Records the kind of pass of these images; whether it gives what the network gives."""
        free, total = torch.cuda.mem_get_info(x.device)
        if free < LEFT * total:
            return False
        self._shared = self._shared or _Shared()
        backward = torch.is_grad_enabled() and x.requires_grad
        try:
            self._graphs[kind] = _Graph(self.network, x, self._shared, backward=backward)
            pairs = zip(values(lambda here: self._replayed(kind, here), x), values(self.network, x), strict=True)
            difference = max(float((one - other).norm() / other.norm().clamp_min(1e-12)) for one, other in pairs)
        except Exception as error:  # noqa: BLE001 (whatever stands in the way of a graph: the network itself works)
            self.failure = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        else:
            precise = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else torch.float32
            if not difference <= TOLERANCE.get(precise, 1e-2):  # NaN, too
                self.failure = f"a replay differs from the network by {difference:.2g}, relative"
        if self.failure:
            _log.warning("the model isn't recorded as a CUDA graph and runs as it is: %s", self.failure)
            self.forget()
        return not self.failure


def _same(one: Tensor, other: Tensor) -> bool:
    return one.device == other.device and one.dtype == other.dtype and torch.equal(one, other)


def filled(count: int, most: int) -> int:
    """The size that a batch is filled up to: a power of two, 5, 6 or 7 quarters of one, or the largest there is.

    Args:
        count: images, 1 to ``most``.
        most: the largest batch.
    """
    power = SMALLEST
    while 2 * power <= count:
        power *= 2
    quarter = power // 4
    return min(max(power, -(-count // quarter) * quarter), most)


class _Shared:
    """What the graphs of one network share: their memory. Only the pass that was replayed last is whole in it."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()
        self.whole: object = None


class _Graph:
    """The recorded passes of one kind: forward, and backward where there are gradients."""

    def __init__(self, network: Network, x: Tensor, shared: _Shared, *, backward: bool) -> None:
        self.shared, self.backward = shared, None
        shared.whole = None
        with torch.set_grad_enabled(backward):
            self.x = x.detach().clone().requires_grad_(backward)
            side = torch.cuda.Stream(x.device)  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream(x.device))
            with torch.cuda.stream(side):  # libraries set themselves up, outside the recording
                for _ in range(2):
                    logits = network(self.x)
                    if backward:
                        torch.autograd.grad(logits, self.x, torch.ones_like(logits))
                del logits
            torch.cuda.current_stream(x.device).wait_stream(side)
            # Weights are cast inside the recording, not taken from a cache that a later cast would replace.
            with _uncached():
                self.forward = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.forward, pool=shared.pool):
                    self.logits = network(self.x)
                if backward:
                    self.cotangent = torch.ones_like(self.logits)
                    self.backward = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(self.backward, pool=shared.pool):
                        (self.gradient,) = torch.autograd.grad(self.logits, self.x, self.cotangent)

    def run(self, x: Tensor) -> Tensor:
        """Logits, the caller's own."""
        with torch.no_grad():
            self.x.copy_(x)
        self.forward.replay()
        self.shared.whole = None
        return self.logits.detach().clone()

    def pull(self, x: Tensor, cotangent: Tensor, ticket: object) -> Tensor:
        """The gradient at the images of a pass, the caller's own; the pass is replayed where it isn't whole any more."""
        assert self.backward is not None
        if self.shared.whole is not ticket:
            with torch.no_grad():
                self.x.copy_(x)
            self.forward.replay()
        self.cotangent.copy_(cotangent)
        self.backward.replay()
        self.shared.whole = None  # what the backward pass doesn't need any more, it writes over
        return self.gradient.detach().clone()


class _Replay(torch.autograd.Function):
    """A replayed pass in the graph of gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: _Graph) -> Tensor:  # Any: torch's context has no type
        logits = graph.run(x)
        ctx.graph, ctx.ticket = graph, object()
        graph.shared.whole = ctx.ticket
        ctx.save_for_backward(x)
        return logits

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, None]:  # Any: torch's context has no type
        return ctx.graph.pull(*ctx.saved_tensors, cotangents[0], ctx.ticket), None


class _uncached:  # noqa: N801 (a context, as torch names them)
    """Inside, autocast keeps no casts of weights."""

    def __enter__(self) -> None:
        self.before = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        torch.clear_autocast_cache()

    def __exit__(self, *_: object) -> None:
        torch.set_autocast_cache_enabled(self.before)
