"""A network compiled by torch.compile for one batch size, compared with itself before it is believed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]
Kind = tuple[object, ...]

FULL = 0.7
"""A batch this full is filled up to the compiled size: the rows that nobody reads cost less than compiling saves."""
TOLERANCE = {torch.float32: 1e-2, torch.bfloat16: 0.3}
"""Of logits and gradients, relative, against the network as it is; a wrong kernel is far from it."""

_log = logging.getLogger(__name__)


class StaticNetwork:
    """A network that is compiled for batches of one size and runs as it is on others.

    The compiled code is compared with the network on the first batch of each kind, logits and gradients; where it can't
    be compiled, or differs, the network goes on as it is, and a warning says so. The random numbers of a network come
    from other streams when it is compiled: only deterministic networks are the same.

    Args:
        network: normalised images (B, C, H, W) to logits (B, K), without side effects.
        size: the batch size that is compiled, at least 2.

    Attributes:
        network: the same.
        size: the same.
        failure: why it isn't compiled; empty while it is.
    """

    def __init__(self, network: Network, size: int) -> None:
        self.network, self.size, self.failure = network, size, ""
        self._compiled: Network | None = None
        self._compared: set[Kind] = set()

    def __call__(self, x: Tensor) -> Tensor:
        """Logits, shape (B, K)."""
        if self.failure or not FULL * self.size <= len(x) <= self.size:
            return self.network(x)
        filled = x if len(x) == self.size else torch.cat([x, x.detach()[-1:].expand(self.size - len(x), *x.shape[1:])])
        kind = kind_of(filled)
        if kind not in self._compared and not self._agrees(filled):
            return self.network(x)
        self._compared.add(kind)
        return self._fast(filled)[: len(x)]

    def forget(self) -> None:
        """Lets go of what was compiled; the network runs as it is from now on."""
        self.failure = self.failure or "forgotten"
        if self._compiled is not None:
            self._compiled = None
            torch._dynamo.reset()

    def _fast(self, x: Tensor) -> Tensor:
        if self._compiled is None:
            from torch._functorch import config  # slow to import

            config.donated_buffer = False  # attacks take several gradients of the same logits
            torch._dynamo.reset()  # what it keeps of other networks counts against its limit
            self._compiled = torch.compile(self.network, dynamic=False)
        return self._compiled(x)

    def _agrees(self, x: Tensor) -> bool:
        """Whether compiled code and network give the same; says why not."""
        limit = TOLERANCE.get(torch.get_autocast_dtype(x.device.type) if _autocast(x) else torch.float32, 1e-2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own compiler is written with what torch deprecates
                fast = values(self._fast, x)
            pairs = zip(fast, values(self.network, x), strict=True)
            differences = [float((one - other).norm() / other.norm().clamp_min(1e-12)) for one, other in pairs]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever a compiler may raise: the network itself still works)
            self.failure = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        else:
            if not max(differences) <= limit:  # NaN, too
                self.failure = f"compiled code differs from the network by {max(differences):.2g}, relative"
        if self.failure:
            _log.warning("the model isn't compiled and runs as it is: %s", self.failure)
        return not self.failure


def _autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def kind_of(x: Tensor) -> Kind:
    """What differs from pass to pass beside the number of images: shape, type, autocast, gradients."""
    return tuple(x.shape[1:]), x.dtype, _autocast(x), torch.is_grad_enabled() and x.requires_grad


def values(network: Network, x: Tensor) -> list[Tensor]:
    """What two versions of a network are compared by: logits, and where gradients are taken, one of them."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return [network(x).detach().float()]
    here = x.detach().requires_grad_()
    logits = network(here)
    weights = torch.linspace(-1, 1, logits.numel(), device=x.device).view_as(logits).to(logits.dtype)
    (gradient,) = torch.autograd.grad((logits * weights).sum(), here)
    return [logits.detach().float(), gradient.float()]
