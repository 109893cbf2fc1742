"""A network with its batch norms folded into the convolutions before them: the same function in fewer passes over memory.

Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
arXiv:1712.05877, section 3.2.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.models.compiled import Network, values

TOLERANCE = 1e-6
"""Of logits and gradients in float64, relative: in float32 the rounding of a deep network would hide a small mistake."""

_log = logging.getLogger(__name__)


class FoldedNetwork:
    """A network that runs with its batch norms folded away, where that can be done and gives the same.

    A batch norm is folded if its input is the output of a convolution that nothing else reads. The folded network is compared
    with the network on the first images, in float64; where it differs, a hook is set, or a weight has been changed in place
    since, the network runs as it is.

    Args:
        network: images (B, C, H, W) to logits (B, K), deterministic.
        module: the part of it that has weights, in evaluation mode.
        through: ``network`` with another module in its place.

    Attributes:
        folded: batch norms that are gone; 0 before the first images and where the network runs as it is.
    """

    def __init__(self, network: Network, module: nn.Module, through: Callable[[nn.Module], Network]) -> None:
        self.network, self.module, self.folded = network, module, 0
        self._through = through
        self._fast: Network | None = None
        self._asked = False
        self._changes = changes(module)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits, shape (B, K)."""
        if not self._asked and len(x) and not hooked(self.module):
            self._asked = True
            self._fold(x)
        as_it_is = self._fast is None or hooked(self.module) or changes(self.module) != self._changes
        return self.network(x) if self._fast is None or as_it_is else self._fast(x)

    def _fold(self, x: Tensor) -> None:
        try:
            with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
                few = x.detach()[:4].float().requires_grad_()  # they show a mistake as well as many
                pairs = _pairs(self.network, self.module, few)
                if not pairs or any(weight.dtype != torch.float32 for weight in self.module.parameters()):
                    return
                precise = copy.deepcopy(self.module).double()
                few = few.double()
                expected = values(self._through(precise), few)
                fold(precise, pairs)
                compared = zip(values(self._through(precise), few), expected, strict=True)
                difference = max(float((one - other).norm() / other.norm().clamp_min(1e-12)) for one, other in compared)
        except Exception as error:  # noqa: BLE001 (whatever stands in the way: the network itself works)
            _log.debug("batch norms aren't folded: %s: %s", type(error).__name__, error)
            return
        if difference <= TOLERANCE:
            self._fast, self.folded = self._through(precise.float()), len(pairs)
        else:
            _log.debug("batch norms aren't folded: that would change logits or gradients by %.2g, relative", difference)


def changes(module: nn.Module) -> int:
    """How often weights and statistics were changed in place, as torch counts it (changes through ``.data`` it doesn't see)."""
    return sum(0 if one.is_inference() else one._version for one in weights(module))


def weights(module: nn.Module) -> Iterator[Tensor]:
    """All that a module's passes are made with: parameters and buffers."""
    yield from module.parameters()
    yield from module.buffers()


def hooked(module: nn.Module) -> bool:
    """Whether any part of it has a hook."""
    return any(
        one._forward_hooks or one._forward_pre_hooks or one._backward_hooks or one._backward_pre_hooks
        for one in module.modules()
    )


def _pairs(network: Network, module: nn.Module, x: Tensor) -> list[tuple[str, str]]:
    """The names of convolutions and of the batch norms that alone read them."""
    made: dict[Any, str] = {}  # Any: nodes of the graph of gradients
    reads: list[tuple[str, Any]] = []
    calls: Counter[str] = Counter()
    with ExitStack() as hooks:
        for name, part in module.named_modules():

            def note_output(_: nn.Module, __: Any, output: Tensor, name: str = name) -> None:
                calls[name] += 1
                made[output.grad_fn] = name

            def note_input(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                calls[name] += 1
                reads.append((name, inputs[0].grad_fn))

            if type(part) is nn.Conv2d:
                hooks.callback(part.register_forward_hook(note_output).remove)
            elif type(part) is nn.BatchNorm2d and part.track_running_stats:
                hooks.callback(part.register_forward_pre_hook(note_input).remove)
        logits = network(x)
    readers = _readers(logits.grad_fn)
    pairs = [(made[node], name) for name, node in reads if node in made and readers[node] == 1]
    return [(conv, norm) for conv, norm in pairs if calls[conv] == calls[norm] == 1]


def _readers(root: Any) -> Counter[Any]:  # Any: nodes of the graph of gradients
    """How often the result of each node is read."""
    readers: Counter[Any] = Counter()
    seen, left = {root}, [root]
    while left:
        for node, _ in left.pop().next_functions:
            if node is not None:
                readers[node] += 1
                if node not in seen:
                    seen.add(node)
                    left.append(node)
    return readers


def fold(module: nn.Module, pairs: Iterable[tuple[str, str]]) -> None:
    """Folds batch norms into convolutions, in place.

    Args:
        module: in evaluation mode; its weights need no gradients from now on.
        pairs: names of convolutions, and of the batch norms that read them.
    """
    for conv, norm in pairs:
        before, after = module.get_submodule(conv), module.get_submodule(norm)
        assert isinstance(before, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(before, after)
        if before.weight.is_contiguous(memory_format=torch.channels_last):
            fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        module.set_submodule(conv, fused)
        module.set_submodule(norm, nn.Identity())
    module.requires_grad_(False)
