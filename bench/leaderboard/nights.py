"""Where a number changed over many nights: which nights can be paired, and which differences are real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from bench.leaderboard.baseline import Baseline, BaselineRow
from bench.leaderboard.cells import CLEAN, CORRUPTED, CORRUPTIONS, WORST, changes
from bench.leaderboard.corruption_baseline import BaselineCorrupted
from bench.leaderboard.verdicts import Verdicts
from bench.stats import holm, paired
from bench.store.cell_outcome import FloatArray

Key = tuple[str, str, str]
"""Threat model, model and defense of a row."""
Change = Literal["", "jump", "drift"]


@dataclass(frozen=True, slots=True)
class Night:
    """One run or baseline."""

    name: str
    found: Baseline

    @property
    def images(self) -> tuple[str, str]:
        """Equal for nights on the same images."""
        return self.found.dataset.digest, self.found.samples.digest


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """The number of one row in one night.

    Attributes:
        outcomes: of each image, in [0, 1], shape (N,).
        bound: whether the number is only known to be at most that.
        images: equal for nights on the same images.
        made_by: the definition of everything that made the number, by name; that of the defense has none.
        corrupted: digests of the corrupted images, by the name of their cell.
    """

    outcomes: FloatArray
    bound: bool
    images: tuple[str, str]
    made_by: Mapping[str, Mapping[str, Any]]  # Any: JSON values
    corrupted: Mapping[str, str] = field(default_factory=dict)

    def pairs_with(self, other: Number) -> bool:
        """Whether both are the same number of the same images."""
        return self.images == other.images and not self.differing(other) and set(self.made_by) == set(other.made_by)

    def differing(self, other: Number) -> list[str]:
        """What both are made by, and isn't the same; other libraries may have made the same corrupted images."""
        return [
            name
            for name, definition in other.made_by.items()
            if name in self.made_by
            and self.made_by[name] != definition
            and (name not in self.corrupted or self.corrupted[name] != other.corrupted.get(name))
        ]


Series = Sequence[Number | None]
"""The number of one row, by night."""


class Seen(NamedTuple):
    """A change that the tests show."""

    change: Change
    difference: float
    p: float
    """corrected"""


def number_of(night: Night, key: Key, number: str) -> Number | None:
    """The number of a row in a night, or ``None`` where it has none.

    Args:
        night: the night.
        key: of the row.
        number: ``clean``, ``worst case``, or a cell's name; under common corruptions ``clean``, ``corrupted``, the name of a
            corruption, or of one at one severity (``fog 3``).
    """
    if key[0] == CORRUPTIONS:
        return _under_corruptions(night, key, number)
    row = night.found.row(key)
    verdicts = None if row is None else _verdicts(row, number)
    if row is None or verdicts is None:
        return None
    definitions = night.found.definitions
    made_by = {
        name: definitions.get(digest, {}) for name, digest in {"": row.definition, **_cells(row, number)}.items()
    }
    outcomes = verdicts.outcomes(night.found.samples.count)
    return Number(outcomes, _bound(row, number), night.images, made_by)


def _under_corruptions(night: Night, key: Key, number: str) -> Number | None:
    row, n = night.found.corrupted_row(key), night.found.samples.count
    if row is None:
        return None
    names = numbers_of(row).get(number, ())
    outcomes = row.mean(names, n)
    if number == CLEAN and row.clean is not None:
        outcomes = row.clean.outcomes(n)
    if outcomes is None:
        return None
    definitions = night.found.definitions
    made_by = {"": definitions.get(row.definition, {})}
    made_by |= {name: definitions.get(row.cells[name].definition, {}) for name in names}
    return Number(outcomes, False, night.images, made_by, {name: row.cells[name].images for name in names})


def numbers_of(row: BaselineCorrupted) -> dict[str, tuple[str, ...]]:
    """The numbers of a row under common corruptions, and the cells that each is the mean of."""
    return {CLEAN: (), CORRUPTED: tuple(row.cells), **row.corruptions, **{name: (name,) for name in row.cells}}


def _verdicts(row: BaselineRow, number: str) -> Verdicts | None:
    if number in (CLEAN, WORST):
        return row.clean if number == CLEAN else row.worst
    return row.cells[number].robust if number in row.cells else None


def _bound(row: BaselineRow, number: str) -> bool:
    if number == WORST:
        return not row.complete
    return number != CLEAN and "invalid" in row.cells[number].flags.values()


def _cells(row: BaselineRow, number: str) -> dict[str, str]:
    """The definitions of the cells that a number rests on."""
    if number == CLEAN:
        return {}
    return {
        name: cell.definition
        for name, cell in row.cells.items()
        if name == number or (number == WORST and cell.role != "certificate")
    }


# -- what changed ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pair:
    """A night and the one that it is seen against."""

    key: Key
    at: int
    against: int
    difference: float
    p: float


def changed(series: Mapping[Key, Series], alpha: float) -> tuple[dict[tuple[Key, int], Seen], int]:
    """By row and night, the changes that the corrected tests show; and how many tests there were.

    Args:
        series: the numbers of every row.
        alpha: family-wise error rate.
    """
    pairs = [pair for key, numbers in series.items() for pair in _pairs(key, numbers, alpha)]
    adjusted = holm([pair.p for pair in pairs])
    shown = {
        (pair.key, pair.at, pair.against): (pair.difference, p)
        for pair, p in zip(pairs, adjusted, strict=True)
        if p <= alpha
    }
    found: dict[tuple[Key, int], Seen] = {}
    for key, numbers in series.items():
        for nights in _segments(numbers):
            quiet = True  # no change since the first of these nights
            for before, at in pairwise(nights):
                jump, drift = shown.get((key, at, before)), shown.get((key, at, nights[0]))
                if jump is not None:
                    found[key, at] = Seen("jump", *jump)
                elif quiet and drift is not None:
                    found[key, at] = Seen("drift", *drift)
                quiet = quiet and (key, at) not in found
    return found, len(pairs)


def _segments(numbers: Series) -> list[list[int]]:
    """The nights that have a number, parted where it isn't the same number of the same images any more.

    What is only known to be at most a number is left out: it rises where an attack fails, and falls once it works again.
    """
    found: list[list[int]] = []
    before: Number | None = None
    for at, number in enumerate(numbers):
        if number is None or number.bound:
            continue
        if before is not None and before.pairs_with(number):
            found[-1].append(at)
        else:
            found.append([at])
        before = number
    return found


def _pairs(key: Key, numbers: Series, alpha: float) -> Iterator[_Pair]:
    for nights in _segments(numbers):
        for before, at in pairwise(nights):
            for against in sorted({before, nights[0]}):
                one, other = numbers[against], numbers[at]
                assert one is not None
                assert other is not None
                differing = int((one.outcomes != other.outcomes).sum())
                if 2 * 0.5**differing <= alpha:
                    difference = float((other.outcomes - one.outcomes).mean())
                    yield _Pair(key, at, against, difference, paired(other.outcomes, one.outcomes))


# -- what isn't compared -----------------------------------------------------------------------------------------------


def beginnings(series: Mapping[Key, Series]) -> set[tuple[Key, int]]:
    """By row, the nights that aren't compared with those before."""
    return {(key, at) for key, numbers in series.items() for at, *_ in _segments(numbers)[1:]}


def breaks(nights: Sequence[Night], series: Mapping[Key, Series]) -> Iterator[str]:
    """Which nights aren't compared with those before, and why."""
    for before, night in pairwise(nights):
        if before.images != night.images:
            yield f"{night.name} is on other images than {before.name}: the two are not compared"
    rows: dict[tuple[int, int, str], list[str]] = {}
    for (_, model, defense), numbers in series.items():
        for (*_, before_at), (at, *_) in pairwise(_segments(numbers)):
            one, other = numbers[before_at], numbers[at]
            if one is not None and other is not None and one.images == other.images:
                label = model if defense == "none" else f"{model} + {defense}"
                rows.setdefault((before_at, at, _differing(one, other)), []).append(label)
    for (before_at, at, why), labels in sorted(rows.items()):
        earlier, later, names = nights[before_at].name, nights[at].name, ", ".join(dict.fromkeys(labels))
        yield f"{later} is not compared with {earlier}, since it measures something else: {why} ({names})"


def _differing(one: Number, other: Number) -> str:
    """What two numbers of a row were made with, where it differs."""
    new = [name for name in other.made_by if name not in one.made_by]
    gone = [name for name in one.made_by if name not in other.made_by]
    said = [f"{what}: {', '.join(names)}" for what, names in (("new", new), ("gone", gone)) if names]
    said += [
        f"{name or 'the defense'}: {changes(dict(one.made_by[name]), dict(other.made_by[name]))}"
        for name in one.differing(other)
    ]
    return "; ".join(said)
