"""Which samples are right, as text in a JSON file: a bit a sample, or its share of the draws."""

from __future__ import annotations

import re

import numpy as np

from bench.errors import StoreError
from bench.leaderboard.records import Record
from bench.store.cell_outcome import FloatArray

_DIGITS = 6
"""Of shares of draws: fewer than what a sum may lose to rounding."""


class Verdicts(Record):
    """Which samples are right, or in which share of the draws."""

    accuracy: float
    correct: float
    """how many; not whole where a defense is stochastic"""
    bits: str | None = None
    """one bit a sample as hexadecimal, filled up with zeros"""
    shares: str | None = None
    """of a stochastic defense: ``3x1 0.5`` is three samples that are always right and one in half of the draws"""

    def outcomes(self, n: int) -> FloatArray:
        """In [0, 1], shape (N,).

        Raises:
            StoreError: where there aren't ``n``.
        """
        try:
            found = _from_bits(self.bits, n) if self.bits is not None else _from_shares(self.shares or "")
        except ValueError as error:
            raise StoreError(f"damaged verdicts: {error}") from error
        if len(found) != n:
            raise StoreError(f"damaged verdicts: {len(found)} of {n} samples")
        return found

    def check(self, n: int) -> None:
        """Whether the numbers are those of the verdicts: a merge of two branches can take them from different ones.

        Raises:
            StoreError: where they aren't, or where there aren't ``n`` verdicts.
        """
        made = verdicts_of(self.outcomes(n))
        if (made.accuracy, made.correct) != (self.accuracy, self.correct):
            raise StoreError(
                f"damaged verdicts: accuracy {self.accuracy:g} and correct {self.correct:g} stand beside "
                f"{'bits' if self.shares is None else 'shares'} of {made.accuracy:g} and {made.correct:g}"
            )


def verdicts_of(outcomes: FloatArray) -> Verdicts:
    """The text of outcomes in [0, 1], shape (N,)."""
    known = np.round(outcomes, _DIGITS)
    numbers = {"accuracy": round(float(known.mean()), _DIGITS), "correct": round(float(known.sum()), 3)}
    if np.isin(known, (0, 1)).all():
        return Verdicts(**numbers, bits=np.packbits(known > 0.5).tobytes().hex())
    return Verdicts(**numbers, shares=_as_shares(known))


def _from_bits(text: str, n: int) -> FloatArray:
    found = np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8))
    if len(found) - n not in range(8):
        raise ValueError(f"{len(found)} bits for {n} samples")
    return found[:n].astype(np.float64)


def _as_shares(outcomes: FloatArray) -> str:
    """Runs of equal shares."""
    starts = np.flatnonzero(np.diff(outcomes, prepend=np.nan) != 0)
    lengths = np.diff(np.append(starts, len(outcomes)))
    return " ".join(
        (f"{length}x" if length > 1 else "") + f"{outcomes[start]:.{_DIGITS}g}"
        for start, length in zip(starts, lengths, strict=True)
    )


def _from_shares(text: str) -> FloatArray:
    found: list[float] = []
    for item in text.split():
        parts = re.fullmatch(r"(?:(\d+)x)?(\d(?:\.\d+)?)", item)
        if parts is None:
            raise ValueError(f"{item!r} is no share")
        found += [float(parts[2])] * int(parts[1] or 1)
    return np.array(found)
