"""What a plan says: kept beside the results, so that it can be compared with what the run then takes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.store.records import SCHEMA_VERSION


class Range(BaseModel):
    """Seconds between two bounds; ``middle`` is expected, ``None`` where only the bounds are known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    middle: float | None
    high: float

    @property
    def likely(self) -> float:
        """What is expected; the upper bound where that isn't known."""
        return self.high if self.middle is None else self.middle


def between(low: float, middle: float, high: float, *, sure: bool) -> Range:
    """From three schedules, which may give a cell's first passes to another cell each: the bounds hold the middle.

    Args:
        low: by the lower bounds.
        middle: as expected.
        high: by the upper bounds.
        sure: whether something is expected between the bounds.
    """
    inside = (low, middle, high) if sure else (low, high)
    return Range(low=min(inside), middle=middle if sure else None, high=max(inside))


def total(ranges: list[Range]) -> Range:
    """The sum, bound by bound."""
    middles = [one.middle for one in ranges]
    middle = None if any(one is None for one in middles) else sum(one for one in middles if one is not None)
    return Range(low=sum(one.low for one in ranges), middle=middle, high=sum(one.high for one in ranges))


class DevicesForecast(BaseModel):
    """Devices of one kind, and where their speeds are from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int
    kind: str
    origin: Literal["measured", "scaled"]
    source: str
    """for people: the device that was measured, and when"""


class CellForecast(BaseModel):
    """One attack cell, or the corruption cells of a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: tuple[str, ...]
    """ids"""
    label: str
    row: str
    """model and defense"""
    state: str
    samples: int
    """still to evaluate"""
    seconds: Range | None
    """of devices; ``None`` where nobody knows"""
    known: str
    """what the passes are known from"""
    before: float = 0.0
    """seconds that its finished rows had taken when this was said"""
    evaluated: int = 0
    """how many these were"""


class RowForecast(BaseModel):
    """The cells of a model and defense together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    seconds: Range
    unknown: int = 0
    """cells of which nobody knows what they take: they aren't in the sum"""


class Forecast(BaseModel):
    """A whole plan for given devices; times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    suite: str
    run: str
    made: str
    """when, in UTC"""
    devices: tuple[DevicesForecast, ...]
    cells: tuple[CellForecast, ...]
    rows: tuple[RowForecast, ...]
    seconds: Range
    """of all devices, on shards and on loading models"""
    wall: Range
    """from the first shard to the end of the last"""
    busy: float | None
    """share of the devices' time in which they work, as expected; ``None`` where there is nothing to do"""
    last: str = ""
    """the cell that ends last"""
    longest: float = 0.0
    """seconds of its longest shard"""

    @property
    def unknown(self) -> int:
        """Cells that aren't in the sums."""
        return sum(row.unknown for row in self.rows)
