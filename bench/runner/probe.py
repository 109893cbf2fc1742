"""What a model says of two clean images, and whether it is still the same model after an attack has had it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.runner.inside import Inside, listed
from bench.store.records import Flag

RANDOM = "unmarked-randomness"
REPEATABLE = 1e-4
"""Two clean passes of a deterministic model differ by less than this, relative to the largest logit."""
ALONE = 1e-2
"""Other kernels (one image instead of a batch, gradients on) differ by far less than this, relative to the largest logit."""

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Probe:
    """Two clean images of a target.

    Args:
        target: the bare or the defended model.
        images: one or two clean images, shape (N, C, H, W), on the target's device.
        known: a model inside the target that has a probe of its own, whose layers need no flag again.

    Attributes:
        random: whether two passes on the same images differ.
        flags: what the passes show: randomness that nobody declared, logits that depend on the rest of the batch, layers in
            training mode, gradients that are taken inside.
    """

    def __init__(self, target: Any, images: Tensor, known: nn.Module | None = None) -> None:  # Any: counted or defended
        self._target, self._images = target, images
        self._inside = Inside(target, known)
        with self._inside.watched():
            self._logits, again, alone = self._pass(images), self._pass(images), self._pass(images[-1:])
        self._scale = max(1.0, float(self._logits.abs().max()))
        self._state, self._classes = fingerprint(target), target.num_classes
        difference = float((self._logits - again).abs().max())
        self.random = difference > REPEATABLE * self._scale
        apart = float((self._logits[-1:] - alone).abs().max())
        with self._inside.watched():
            under_attack = float((self._pass(images, gradient=True) - self._logits).abs().max())
        self.flags = (
            *_flags(
                difference if self.random else 0.0,
                apart if apart > ALONE * self._scale else 0.0,
                under_attack if not under_attack <= ALONE * self._scale else 0.0,
            ),
            *self._inside.flags,
        )

    def changed(self) -> str:
        """What is not as it was at first: weights and buffers, the mode, the logits; empty where all is."""
        weights, modes, hooks = (
            before != now for before, now in zip(self._state, fingerprint(self._target), strict=True)
        )
        training = f" ({listed(self._inside.training)} in training mode)" if self._inside.training else ""
        found = [f"other weights or buffers{training}"] * weights + ["another mode"] * modes + ["other hooks"] * hooks
        if self._target.num_classes != self._classes:
            found.append("another number of classes")
        if not self.random and not found:
            found += self._other_logits()
        return " and ".join(found)

    def _other_logits(self) -> list[str]:
        try:
            difference = float((self._pass(self._images) - self._logits).abs().max())
        except Exception as error:  # noqa: BLE001 (whatever it raises now, it did not raise before)
            return [f"no logits for a clean image any more ({type(error).__name__}: {error})"]
        # The comparison must also fail for a difference that is NaN.
        if not difference <= REPEATABLE * self._scale:
            return [f"logits on a clean image that differ by {difference:.3g}"]
        return []

    def _pass(self, images: Tensor, *, gradient: bool = False) -> Tensor:
        keys = torch.arange(len(self._images), device=images.device)[-len(images) :]
        with torch.set_grad_enabled(gradient), self._target.drawing(keys):  # of a stochastic one the same draws
            logits: Tensor = self._target(images.clone().requires_grad_(gradient))
        return logits.detach()


def fingerprint(module: nn.Module) -> tuple[tuple[int, ...], tuple[bool, ...], int]:
    """The bits of all weights and buffers, summed up for each tensor; the modes; the number of hooks."""
    tensors = (*module.parameters(), *module.buffers())
    modules = list(module.modules())
    hooks = sum(len(one._forward_hooks) + len(one._forward_pre_hooks) + len(one._backward_hooks) for one in modules)
    return tuple(_sum(tensor) for tensor in tensors), tuple(one.training for one in modules), hooks


def _sum(tensor: Tensor) -> int:
    """Integers add up to the same sum in any order, so that nothing but a change changes it."""
    flat = tensor.detach().reshape(-1)
    if flat.is_complex():
        flat = torch.view_as_real(flat).reshape(-1)
    return int(flat.view(_BITS[flat.element_size()]).sum(dtype=torch.int64))


def _flags(random: float, apart: float, under_attack: float) -> list[Flag]:
    source = "Athalye et al. 2018, arXiv:1802.00420"
    if random:
        text = f"two passes on the same images differ by {random:.3g}: the model is random, and single draws judge it"
        return [Flag(rule=RANDOM, severity="warning", message=text, source=source)]
    flags = []
    if apart:
        text = f"the logits of an image alone and in a batch differ by {apart:.3g}: its verdict depends on other images"
        flags.append(Flag(rule="batch-dependent", severity="warning", message=text))
    if under_attack:
        text = f"the logits differ by {under_attack:.3g} when gradients are taken: white-box attacks see another model"
        flags.append(Flag(rule="gradient-dependent", severity="invalid", message=text, source=source))
    return flags
