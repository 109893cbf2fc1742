"""The penultimate features of a network: what goes into its last linear layer.

The input of the last layer is what the detectors of Lee et al. 2018 (arXiv:1807.03888) and Ma et al. 2018
(arXiv:1801.02613) look at; theirs read the earlier layers, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bench.defenses.base import Ask
from bench.errors import BenchError

_Note = Callable[[nn.Module, Tensor], None]


class Features:
    """The input of a network's last linear layer, caught while the network is asked.

    The layer is the ``nn.Linear`` that one trial pass executes last; in a network that executes none, the
    ``nn.Conv2d``. A network that is compiled, or that runs elsewhere than in this process, shows nothing.

    Args:
        network: the network that ``ask`` runs; it gets hooks during a look and is left as it was.
        ask: images to logits.
        images: a few images for the trial pass, shape (N, C, H, W).

    Attributes:
        layer: the layer whose input is taken.
        name: its name within the network.

    Raises:
        BenchError: if the network executes neither kind of layer.
    """

    def __init__(self, network: nn.Module, ask: Ask, images: Tensor) -> None:
        self.ask = ask
        executed: list[nn.Module] = []
        layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        with _watched(layers, lambda module, _: executed.append(module)), torch.no_grad():
            ask(images)
        linear = [module for module in executed if isinstance(module, nn.Linear)]
        if not executed:
            raise BenchError(
                f"{type(network).__name__}: its features can't be seen: a pass executes no nn.Linear and no nn.Conv2d"
            )
        self.layer = (linear or executed)[-1]
        self.name = next(name for name, module in network.named_modules() if module is self.layer)

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, shape (N, K), and features, shape (N, D), of one pass; both keep their graph.

        Args:
            x: shape (N, C, H, W), float32 in [0, 1].

        Raises:
            BenchError: if the pass doesn't give the layer one input for each image.
        """
        seen: list[Tensor] = []
        with _watched([self.layer], lambda _, given: seen.append(given.clone())):  # later layers may work in place
            logits = self.ask(x)
        if seen and len(seen[-1]) == len(x):
            return logits, seen[-1].flatten(1)
        if sum(map(len, seen)) == len(x):  # a pass in pieces
            return logits, torch.cat([piece.flatten(1) for piece in seen])
        shapes = ", ".join(str(tuple(piece.shape)) for piece in seen) or "none (a compiled network shows nothing)"
        raise BenchError(
            f"the layer {self.name} must get one input for each of {len(x)} images, a pass gave it: {shapes}"
        )


@contextmanager
def _watched(layers: Sequence[nn.Module], note: _Note) -> Iterator[None]:
    """Tells ``note`` what every execution of the layers gets."""

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:  # Any: as torch calls it
        note(module, args[0] if args else kwargs["input"])

    handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
