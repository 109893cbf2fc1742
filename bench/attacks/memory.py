"""Going on in smaller pieces where memory runs out."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from bench.errors import out_of_memory as out_of_memory


class Drawing(Protocol):
    """Images to logits, with draws from keys where it is stochastic."""

    def __call__(self, x: Tensor) -> Tensor:
        """Logits."""
        ...

    def drawing(self, keys: Tensor) -> AbstractContextManager[None]:
        """Inside, passes draw from these keys."""
        ...


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
