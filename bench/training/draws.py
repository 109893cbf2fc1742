"""The random numbers of one step of one training, the same on every device and for every number of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BatchDraws:
    """Random numbers for some images of a batch.

    They are drawn on the CPU for the whole batch, in the order of its images, and then cut: so an image gets the same
    numbers whether its batch is computed at once, in parts or by several processes.

    Attributes:
        generator: of this step, on the CPU.
        batch: images of the whole batch.
        first: the place of the first of these images in it.
        count: these images.
        device: where the numbers go.
    """

    generator: torch.Generator
    batch: int
    first: int
    count: int
    device: torch.device

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in [0, 1), shape (count, *shape): ``draws.uniform(*x.shape[1:])`` for one for each pixel."""
        return self._of_these(torch.rand, shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, shape (count, *shape)."""
        return self._of_these(torch.randn, shape)

    def of(self, first: int, count: int) -> BatchDraws:
        """The same source for only some of these images.

        Args:
            first: place of the first of them among these images.
            count: how many.
        """
        return replace(self, first=self.first + first, count=count)

    def _of_these(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        on_gpu = self.device.type == "cuda"
        numbers = draw((self.batch, *shape), generator=self.generator, pin_memory=on_gpu)
        return numbers[self.first : self.first + self.count].to(self.device, non_blocking=on_gpu)
