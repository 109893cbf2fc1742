"""Telling that memory ran out from every other failure, and going on in smaller pieces."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor


class Drawing(Protocol):
    """Images to logits, with draws from keys where it is stochastic."""

    def __call__(self, x: Tensor) -> Tensor:
        """Logits."""
        ...

    def drawing(self, keys: Tensor) -> AbstractContextManager[None]:
        """Inside, passes draw from these keys."""
        ...


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def in_pieces(model: Drawing, x: Tensor, batch_size: int, keys: Tensor | None = None) -> list[Tensor]:
    """What a model gives without gradients, piece by piece; pieces are halved when memory runs out.

    Args:
        model: images to logits.
        x: images, shape (N, C, H, W).
        batch_size: the most images of one pass.
        keys: what a stochastic model draws from, one for each image, int64; fresh draws where there are none.
    """
    size, start, found = max(1, batch_size), 0, list[Tensor]()
    while start < len(x):
        try:
            rows = slice(start, start + size)
            with torch.no_grad(), nullcontext() if keys is None else model.drawing(keys[rows]):
                found.append(model(x[rows]))
        except Exception as error:
            if not out_of_memory(error) or size == 1:
                raise
            size //= 2
            continue
        start += size
    return found
