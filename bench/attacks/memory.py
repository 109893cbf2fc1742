"""Telling that memory ran out from every other failure, and going on in smaller pieces."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
    )


def in_pieces(model: Callable[[Tensor], Tensor], x: Tensor, batch_size: int) -> list[Tensor]:
    """What a model gives without gradients, piece by piece; pieces are halved when memory runs out.

    Args:
        model: images to logits.
        x: images, shape (N, C, H, W).
        batch_size: the most images of one pass.
    """
    size, start, found = max(1, batch_size), 0, list[Tensor]()
    while start < len(x):
        try:
            with torch.no_grad():
                found.append(model(x[start : start + size]))
        except Exception as error:
            if not out_of_memory(error) or size == 1:
                raise
            size //= 2
            continue
        start += size
    return found
