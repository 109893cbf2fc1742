"""k-winners-take-all: each layer keeps its largest activations only.

Xiao et al. 2020, Enhancing Adversarial Defense by k-Winners-Take-All, arXiv:1905.10510; broken in Tramer et al. 2020, On
Adaptive Attacks to Adversarial Example Defenses, arXiv:2002.08347. The paper trains its networks with it; here it is put
into a network as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from bench.defenses.base import Ask, Rewiring
from bench.defenses.rewiring_parameters import KWTAParams
from bench.errors import BenchError
from bench.models.noise import Noise

Gate: TypeAlias = Callable[[Tensor], Tensor]
"""What becomes of a layer's activations (N, ...)."""

Inside: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Opens the context in which the network has its gates."""

WIDTH = 0.1
"""Of the soft gate, in standard deviations of a layer's activations; see :meth:`KWTA.surrogate_logits`."""


class KWTA(Rewiring):
    """Every ``nn.ReLU`` of the network gives its largest activations, per image, and 0 for the others.

    Activations that equal the smallest kept one are kept, too. ReLUs that are called as functions are out of reach.
    """

    differentiable: ClassVar[bool] = False
    attacked_by_surrogate: ClassVar[bool] = True
    params: KWTAParams

    def __init__(self, params: KWTAParams) -> None:
        super().__init__(params)
        self._layers: list[nn.Module] = []

    def adopt(self, network: nn.Module) -> None:
        """Finds the network's ReLUs.

        Raises:
            BenchError: if it has none as modules.
        """
        self._layers = [module for module in network.modules() if isinstance(module, nn.ReLU)]
        if not self._layers:
            raise BenchError(
                f"kwta: {type(network).__name__} has no nn.ReLU modules that it could replace "
                "(ReLUs that are called as functions can't be reached)"
            )

    def logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Logits of the network with the winners only, shape (N, K)."""
        return self._asked(ask, x, self._winners)

    def surrogate_logits(self, ask: Ask, x: Tensor, noise: Noise) -> Tensor:
        """Logits of the network with soft gates, shape (N, K): a sigmoid of the distance to the smallest kept activation."""
        # What PGD leaves right says which stand-in to take. Of the first 150 digits, zoo:mnist_standard, Linf 0.1, 20 steps
        # on the cross-entropy: the winners' own gradient 65 %, the network with plain ReLUs 71 %, the winners with the
        # gradient of plain ReLUs 69 %, soft gates 51 % (0.05 to 0.2 standard deviations wide: 51 to 55 %). They win because
        # an activation that is cut off still has a gradient, which says how to bring it back or to keep it out.
        return self._asked(ask, x, self._soft)

    def _asked(self, ask: Ask, x: Tensor, gate: Gate) -> Tensor:
        inside = partial(self._gated, gate)
        if not (torch.is_grad_enabled() and x.requires_grad):
            with inside():
                return ask(x)
        logits: Tensor = _Inside.apply(x, ask, inside)  # type: ignore[no-untyped-call]
        return logits

    @contextmanager
    def _gated(self, gate: Gate) -> Iterator[None]:
        """Inside, the layers' outputs go through the gate."""
        if not self._layers:
            raise BenchError("kwta: must adopt a network before the first pass")

        def hook(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:  # Any: whatever the layer takes
            return gate(output)

        handles = []
        with _uncompiled():
            try:
                for layer in self._layers:
                    handles.append(layer.register_forward_hook(hook))
                yield
            finally:
                for handle in handles:
                    handle.remove()

    def _threshold(self, activations: Tensor) -> Tensor:
        """The smallest activation that is kept, per image, from shape (N, D) to (N, 1)."""
        kept = max(1, round(self.params.ratio * activations.shape[1]))
        return activations.detach().topk(kept, dim=1, sorted=True).values[:, -1:]

    def _winners(self, activations: Tensor) -> Tensor:
        flat = activations.flatten(1)
        return (flat * (flat >= self._threshold(flat))).view_as(activations)

    def _soft(self, activations: Tensor) -> Tensor:
        flat = activations.flatten(1)
        width = (WIDTH * flat.detach().std(1, correction=0, keepdim=True)).clamp_min(torch.finfo(flat.dtype).tiny)
        return (flat * ((flat - self._threshold(flat)) / width).sigmoid()).view_as(activations)


class _Inside(torch.autograd.Function):
    """Asks inside a context, forward and backward: a pass in pieces asks again when the gradient is taken."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ask: Ask, inside: Inside) -> Tensor:  # Any: torch's context has no type
        with inside(), torch.enable_grad():
            point = x.detach().requires_grad_()
            logits = ask(point)
        ctx.inside, ctx.point, ctx.logits = inside, point, logits
        return logits.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # Any: torch's context has no type
        with ctx.inside():
            # Attacks take several gradients of the same logits.
            (through,) = torch.autograd.grad(ctx.logits, ctx.point, gradients[0], retain_graph=True)
        return through, None, None


def _uncompiled() -> AbstractContextManager[Any]:  # Any: the context is torch's own
    """Inside, compiled code runs as it was written, because it doesn't look for hooks that came later."""
    compiler = "torch._dynamo" in sys.modules  # otherwise nothing is compiled, and asking takes seconds
    return torch.compiler.set_stance("force_eager") if compiler else nullcontext()
