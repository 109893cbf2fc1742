"""What passes take on a device: measured figures, and times read off them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bench.runner.planning.peaks import Ratio
from bench.store.records import SCHEMA_VERSION

Bound = Literal["low", "middle", "high"]

FloatArray = npt.NDArray[np.float64]


class Point(BaseModel):
    """Seconds that something took with so many samples at once: the fastest, the mean and the slowest time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int
    low: float
    middle: float
    high: float


class RowSpeed(BaseModel):
    """What a model behind a defense takes on one device."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """hash of the weights, the defense, the norm, the shape of the images and the precision that was asked for"""
    model: str
    defense: str
    norm: str
    precision: str
    """of the search on this device"""
    batch_size: int
    """the most samples of a pass"""
    asked: int | None
    """what ``--batch-size`` said; ``None`` where it was found by itself"""
    wanted: int
    """samples of the largest shard, up to which it was measured as far as that didn't take too long"""
    fills: bool
    """whether restarts and targets of a sample share passes, as on GPUs, where a full batch takes hardly longer than a part"""
    load: float
    """seconds until the model is there"""
    warm: float
    """seconds that its first passes take more than later ones: kernels are chosen, graphs recorded"""
    base: tuple[Point, ...]
    """a shard without its attack: predictions, judging, records"""
    step: tuple[Point, ...]
    """a forward and backward pass of the search, with what an attack does beside"""
    query: tuple[Point, ...]
    """a forward pass alone"""

    def scaled(self, by: Ratio) -> RowSpeed:
        """The same for another device, on which everything but loading takes ``by`` times as long."""

        def points(measured: tuple[Point, ...]) -> tuple[Point, ...]:
            middle = (by.low * by.high) ** 0.5
            return tuple(
                Point(samples=one.samples, low=one.low * by.low, middle=one.middle * middle, high=one.high * by.high)
                for one in measured
            )

        return self.model_copy(
            update={"base": points(self.base), "step": points(self.step), "query": points(self.query)}
        )


class Calibration(BaseModel):
    """The speeds of one device, as a file holds them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    kind: str
    """as ``--devices`` names it"""
    device: str
    """as records name it, such as ``cpu (1 threads)``"""
    processor: str
    """its full name"""
    torch: str
    bench: str
    made: str
    """when it was last measured, in UTC"""
    shared: bool = False
    """whether other processes used the cores of a CPU while it was measured"""
    rows: tuple[RowSpeed, ...] = ()

    def row(self, key: str) -> RowSpeed | None:
        """The speeds of one model behind its defense, if they are here."""
        return next((row for row in self.rows if row.key == key), None)

    def with_rows(self, rows: tuple[RowSpeed, ...], made: str, *, shared: bool) -> Calibration:
        """The same with newer figures in the place of older ones."""
        new = {row.key for row in rows}
        kept = tuple(row for row in self.rows if row.key not in new)
        shared = shared or (self.shared and bool(kept))
        return self.model_copy(update={"rows": kept + rows, "made": made, "shared": shared})


def seconds(points: tuple[Point, ...], samples: FloatArray, bound: Bound) -> FloatArray:
    """Time at other numbers of samples: linear between those measured, in proportion beyond the largest.

    Below one sample (an expected number of survivors) it is the share of the time of one.

    Args:
        points: measured, by rising number of samples; at least one.
        samples: shape (K,), above 0.
        bound: low, middle or high.

    Returns:
        Seconds, shape (K,).
    """
    at = np.array([point.samples for point in points], dtype=float)
    took = np.array([getattr(point, bound) for point in points], dtype=float)
    found: FloatArray = np.interp(samples, at, took) * np.maximum(samples / at[-1], 1.0) * np.minimum(samples, 1.0)
    return found
