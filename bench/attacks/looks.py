"""Looks at values: free on a CPU, a wait for the device elsewhere, so that one look a step has to tell everything."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.attacks.batch import on_cpu
from bench.attacks.checked import sound


class Looks:
    """What should be finite and was not looked at yet."""

    def __init__(self) -> None:
        self._unasked: list[tuple[Tensor, str]] = []

    def sound(self, values: Tensor, what: str) -> Tensor:
        """The values, which should all be finite: told at once on a CPU, with the next look elsewhere.

        Args:
            values: any shape.
            what: names them in the message.

        Raises:
            AttackError: on a CPU, where one isn't.
        """
        if on_cpu(values):
            return sound(values, what)
        self._unasked.append((values, what))
        return values

    def any(self, mask: Tensor) -> bool:
        """Whether one is true.

        Args:
            mask: bool, any shape.

        Raises:
            AttackError: where something since the last look isn't finite.
        """
        unasked, self._unasked = self._unasked, []
        if not unasked:
            return bool(mask.any())
        sums = [values.sum(dtype=torch.float32) for values, _ in unasked]
        *totals, found = torch.stack([*sums, mask.any().float()]).tolist()
        for total, (values, what) in zip(totals, unasked, strict=True):
            if not math.isfinite(total):  # finite values may have a sum that isn't
                sound(values, what)
        return bool(found)

    def forget(self) -> None:
        """Drops what a pass left that ran out of memory and is made again."""
        self._unasked.clear()
