"""Randomness that depends on the sample, never on the batch, the shard or the device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.models.noise import global_seed as global_seed
from bench.models.noise import uniform as uniform


@dataclass(frozen=True, slots=True)
class Draws:
    """Source of all random draws of one attack in one cell.

    Every draw is made from (seed, purpose, attack, stage, sample id, restart, step, draw), so that the same sample gets
    the same numbers in every batch, and no attack can see the draws that score it (another purpose).

    Attributes:
        seed: the suite's seed.
        attack: name of the attack.
        purpose: what the draws are for.
    """

    seed: int
    attack: str
    purpose: str = "attack"

    def number(self, sample_id: str, *, stage: str = "", restart: int = 0, step: int = 0, draw: int = 0) -> int:
        """A 63-bit number for one draw."""
        key = "\x1f".join(map(str, (self.seed, self.purpose, self.attack, stage, sample_id, restart, step, draw)))
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1

    def generators(
        self, sample_ids: Sequence[str], *, stage: str = "", restarts: Sequence[int] | None = None, step: int = 0
    ) -> list[torch.Generator]:
        """One CPU generator for each sample.

        Args:
            sample_ids: the samples.
            stage: stage of an ensemble.
            restarts: restart of each sample; 0 where it isn't given.
            step: step of the attack.
        """
        numbers = restarts if restarts is not None else [0] * len(sample_ids)
        return [
            torch.Generator().manual_seed(self.number(sample, stage=stage, restart=restart, step=step))
            for sample, restart in zip(sample_ids, numbers, strict=True)
        ]

    def keys(
        self, sample_ids: Sequence[str], *, stage: str = "", restarts: Sequence[int], device: torch.device
    ) -> Tensor:
        """One key for each sample, for :func:`uniform`: attacks that draw at every step need no generator for it.

        Args:
            sample_ids: the samples.
            stage: stage of an ensemble.
            restarts: restart of each sample.
            device: where the draws are wanted.

        Returns:
            Keys, shape (N,), int64.
        """
        pairs = zip(sample_ids, restarts, strict=True)
        numbers = [self.number(sample, stage=stage, restart=restart, draw=1) for sample, restart in pairs]
        return torch.tensor(numbers, dtype=torch.int64, device=device)

    def chunk_seed(self, sample_ids: Sequence[str], *, stage: str = "") -> int:
        """A 31-bit seed for a library that uses global generators: one for each fixed chunk of samples."""
        return self.number(sample_ids[0] if sample_ids else "", stage=stage, draw=-1) & 0x7FFFFFFF
