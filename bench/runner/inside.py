"""What a model does inside a clean forward pass: layers that work in training mode, gradients that it takes for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from bench.store.records import Flag

CARLINI = "Carlini et al. 2019, arXiv:1902.06705"
_NAMED = 3
"""Layers that a message names."""


class Inside:
    """What passes of a model show that are made while it is watched.

    A layer counts by the mode that it has when it is called, so that one that is never called doesn't. What a compiled or
    scripted network does isn't seen, neither are forward-mode derivatives.

    Args:
        target: the bare or the defended model, with the networks that its defenses hold.
        known: a model inside the target whose layers have been looked at already.

    Attributes:
        gradients: whether the model took gradients.
        training: layers that worked in training mode.
        batch: batch norms that have no statistics but those of the batch.
    """

    def __init__(self, target: Any, known: nn.Module | None = None) -> None:  # Any: a counted or defended model
        self.gradients = False
        self.training: dict[str, None] = {}
        self.batch: dict[str, None] = {}
        seen = set() if known is None else set(known.modules())
        # What a defense declares to be random may draw by dropout.
        kinds = (_BatchNorm,) if target.stochastic else (_BatchNorm, _DropoutNd)
        self._layers = {
            module: name for module, name in _layers(target).items() if isinstance(module, kinds) and module not in seen
        }

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, passes are watched; nothing about them changes."""
        handles = [module.register_forward_pre_hook(self._called(name)) for module, name in self._layers.items()]
        try:
            with self._gradients():
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _called(self, name: str) -> Callable[[nn.Module, Any], None]:  # Any: whatever a layer takes
        def note(module: nn.Module, args: Any) -> None:
            what = f"{name} ({type(module).__name__})"
            if isinstance(module, _BatchNorm) and module.running_mean is None and module.running_var is None:
                self.batch[what] = None
            elif module.training and not (isinstance(module, _DropoutNd) and module.p == 0):
                self.training[what] = None

        return note

    @contextmanager
    def _gradients(self) -> Iterator[None]:
        """Notes every gradient that is taken.

        ``torch.autograd.grad``, ``torch.autograd.backward``, ``Tensor.backward`` and ``torch.func.grad`` all end in torch's
        engine, also where a network has imported one of them by its name.
        """
        places: list[tuple[Any, str]] = [  # Any: a module or a class of torch
            (torch.autograd, "grad"),
            (torch.autograd, "backward"),
            (torch.Tensor, "backward"),
            (torch.autograd, "_engine_run_backward"),
        ]
        originals = [(place, name, getattr(place, name)) for place, name in places if hasattr(place, name)]
        try:
            for place, name, original in originals:
                setattr(place, name, self._noting(original))
            yield
        finally:
            for place, name, original in originals:
                setattr(place, name, original)

    def _noting(self, original: Callable[..., Any]) -> Callable[..., Any]:  # Any: whatever torch takes and gives
        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.gradients = True
            return original(*args, **kwargs)

        return call

    @property
    def flags(self) -> list[Flag]:
        """What a reader of the model's numbers must know."""
        found = []
        if self.training:
            text = (
                f"{listed(self.training)} in training mode, though the model is told to evaluate (eval()): what is judged is "
                "another model than the one that is used"
            )
            found.append(Flag(rule="training-mode", severity="invalid", message=text, source=CARLINI))
        if self.batch:
            text = f"{listed(self.batch)} without running statistics: the verdict on an image depends on its batch"
            found.append(Flag(rule="training-mode", severity="warning", message=text, source=CARLINI))
        if self.gradients:
            text = (
                "the model takes gradients inside its own forward pass: it optimises something anew for every image. An attack "
                "has to differentiate through that, or to treat it as a defense with a stand-in (BPDA), or it attacks another "
                "model"
            )
            source = "Tramer et al. 2020, arXiv:2002.08347; Croce et al. 2022, arXiv:2202.13711"
            found.append(Flag(rule="test-time-optimisation", severity="warning", message=text, source=source))
        return found


def listed(names: Iterable[str]) -> str:
    """The first few of some names, with the verb."""
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more + (" is" if len(every) == 1 else " are")


def _layers(target: Any) -> dict[nn.Module, str]:  # Any: as above
    """Every module with its name, of the networks that the defenses hold, too; none that is compiled."""
    found: dict[nn.Module, str] = {}
    compiled = tuple(f"{name}." for name, module in target.named_modules() if hasattr(module, "_orig_mod"))
    for name, module in target.named_modules():
        if not name.startswith(compiled):
            found.setdefault(module, name)
    for stage in getattr(target, "stages", ()):
        for attribute, value in getattr(stage, "__dict__", {}).items():
            for network in _modules(value):
                for name, module in network.named_modules():
                    found.setdefault(module, ".".join(filter(None, (type(stage).__name__, attribute, name))))
    return found


def _modules(value: object) -> list[nn.Module]:
    values = value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else (value,)
    return [one for one in values if isinstance(one, nn.Module)]
