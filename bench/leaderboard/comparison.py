"""A comparison as data: what ``bench compare --format json`` prints and every rendering is made from.

Accuracies and differences are shares of the images; the renderings for people show % and points.
"""

from __future__ import annotations

from typing import Literal

from bench.leaderboard.records import Record
from bench.store.records import Estimate

SCHEMA_VERSION = 1
Kind = Literal["clean", "attack", "worst case", "corruption"]


class Side(Record):
    """One of the two runs."""

    path: str
    suite: str
    run: str
    images: int


class Entry(Record):
    """One number of both rows, on the images that both have."""

    name: str
    """``clean``, ``worst case``, or the attack, and its role and seed where it isn't the suite's own with seed 0; under common
    corruptions ``clean``, ``corrupted`` (their mean), or a corruption"""
    kind: Kind
    a: Estimate | None
    """``None`` where there is no number; without an interval where it is only known to be at most that"""
    b: Estimate | None
    a_bound: bool = False
    """whether the number is only known to be at most that"""
    b_bound: bool = False
    difference: float | None = None
    """of b less a, paired by image; ``None`` where they aren't compared"""
    low: float | None = None
    """end of its 95 % interval: Tango's score interval, or a bootstrap's where a defense is stochastic"""
    high: float | None = None
    p: float | None = None
    """McNemar's exact test, or a randomisation test where a defense is stochastic"""
    adjusted: float | None = None
    """after Holm's correction over all tests of the comparison"""
    lost: tuple[str, ...] = ()
    """ids of the samples that a keeps and b loses"""
    gained: tuple[str, ...] = ()
    """ids of the samples that b keeps and a loses"""
    seconds: float | None = None
    """seconds an image of b by those of a"""
    passes: float | None = None
    """forward and backward passes of b by those of a, on the images that both have"""
    reason: str = ""
    """why there is no test, naming both sides"""


class Pair(Record):
    """Two rows under one threat model."""

    threat_model: str
    """for people: ``Linf 8/255``, or ``Common corruptions``"""
    norm: str
    """``corruptions`` under common corruptions"""
    eps: str
    """exact, as a fraction; empty under common corruptions"""
    a: str
    """model, and the defense where there is one"""
    b: str
    images: int
    """that both have"""
    only_a: int
    """images that only a has: left out"""
    only_b: int
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    """what else differs between the two"""


class Refused(Record):
    """What was not compared."""

    subject: str
    reason: str


class Comparison(Record):
    """Two runs, or two rows of one, side by side."""

    schema_version: int = SCHEMA_VERSION
    a: Side
    b: Side
    alpha: float
    tests: int
    """over how many tests Holm's correction goes"""
    pairs: tuple[Pair, ...]
    refused: tuple[Refused, ...] = ()
