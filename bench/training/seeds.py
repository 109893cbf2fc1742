"""Random draws that depend on the recipe's seed and the place in the training, never on what was drawn before.

So a training that is taken up in the middle draws what an uninterrupted one draws. Everything is drawn on the CPU, so
that every device sees the same images and the same noise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Seeds:
    """Source of all random draws of one training.

    Attributes:
        seed: the recipe's seed.
    """

    seed: int

    def number(self, purpose: str, *, epoch: int = 0, step: int = 0) -> int:
        """A 63-bit number for one purpose (``order``, ``attack``, ...) at one place of the training."""
        key = f"training\x1f{self.seed}\x1f{purpose}\x1f{epoch}\x1f{step}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1

    def generator(self, purpose: str, *, epoch: int = 0, step: int = 0) -> torch.Generator:
        """A fresh generator on the CPU, seeded with that number."""
        return torch.Generator().manual_seed(self.number(purpose, epoch=epoch, step=step))
