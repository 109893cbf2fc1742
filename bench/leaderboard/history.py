"""One number of every row over many runs, and where it changed.

A night is a run or a baseline. Each is paired with the night before it, image by image, and with the first one on the same
images: the first finds a jump, the second a slow drift in which no single night stands out. All are exact McNemar tests (a
randomisation test where a defense is stochastic), with Holm's correction over all rows and nights, so that in a history in
which nothing happened anything is marked with probability alpha at most. Pairs in which so few verdicts changed that even
all in one direction would show nothing don't count (Tarone 1990, Biometrics 46:515-522): nights that repeat each other, the
usual case, cost no power. A chart of sums (CUSUM) would need to know how much a healthy night varies; paired verdicts don't.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tabulate import tabulate

from bench.errors import BenchError, SchemaError, StoreError, UnknownNameError
from bench.leaderboard import baseline as baselines
from bench.leaderboard.baseline import Baseline, BaselineRow, Verdicts, key_of
from bench.leaderboard.cells import CLEAN, WORST
from bench.leaderboard.grid import percent
from bench.leaderboard.markdown import escape
from bench.leaderboard.records import Record
from bench.metrics import estimates
from bench.stats import holm, paired
from bench.store.outcomes import FloatArray
from bench.store.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
Change = Literal["", "jump", "drift"]
_MARKS: dict[tuple[str, bool], str] = {
    ("jump", True): " ▲", ("jump", False): " ▼", ("drift", True): " △", ("drift", False): " ▽",
}  # fmt: skip


class NightPoint(Record):
    """The number of one row in one night."""

    night: str
    made: str
    threat_model: str
    row: str
    value: float | None
    """``None`` where the night has none"""
    low: float | None = None
    high: float | None = None
    bound: bool = False
    """whether it is only known to be at most that"""
    change: Change = ""
    """``jump``: against the night before; ``drift``: against the first night, without a jump since"""
    difference: float | None = None
    """of a change: against the night that it is seen against"""
    p: float | None = None
    """of a change, after Holm's correction"""


class History(Record):
    """A number over many nights."""

    schema_version: int = SCHEMA_VERSION
    suite: str
    number: str
    alpha: float
    tests: int
    nights: tuple[str, ...]
    points: tuple[NightPoint, ...]
    """by row, then by night"""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Night:
    name: str
    found: Baseline

    @property
    def images(self) -> tuple[str, str]:
        """Equal for nights on the same images."""
        return self.found.dataset.digest, self.found.samples.digest


def history(directory: Path, number: str = WORST, alpha: float = 0.05, *, threat_model: str | None = None) -> History:
    """The number of every row over the runs, or the baselines, of a directory.

    Args:
        directory: ``results/<suite>`` with its runs, or a directory of baselines.
        number: ``clean``, ``worst case`` or a cell's name, such as ``pgd-20``.
        alpha: family-wise error rate of the marks.
        threat_model: only this one, ``norm:eps`` with the exact eps, or norm.

    Raises:
        StoreError: where there is nothing to show, or where suites differ.
        UnknownNameError: where no row has the number.
    """
    nights, notes = _nights(directory)
    suites = list(dict.fromkeys(night.found.suite for night in nights))
    if len(suites) != 1:
        raise StoreError(f"{directory}: several suites here ({', '.join(suites)}); give each a directory of its own")
    keys = [
        key
        for key in dict.fromkeys(key_of(row) for night in nights for row in night.found.rows)
        if threat_model is None
        or key[0] in (threat_model, threat_model.lower())
        or key[0].split(":")[0] == threat_model
    ]
    series = {key: [_numbers(night, key, number) for night in nights] for key in keys}
    series = {key: found for key, found in series.items() if any(one is not None for one in found)}
    if not series:
        known = dict.fromkeys(
            [CLEAN, WORST, *(name for night in nights for row in night.found.rows for name in row.cells)]
        )
        raise UnknownNameError("number", number, (), tuple(known))
    changes, tests = _changes(nights, series, alpha)
    points = [
        _point(night, key, verdicts, outcomes, changes.get((key, at)))
        for key, found in series.items()
        for at, (night, (verdicts, outcomes)) in enumerate(
            zip(nights, (one or (None, None) for one in found), strict=True)
        )
    ]
    return History(
        suite=suites[0],
        number=number,
        alpha=alpha,
        tests=tests,
        nights=tuple(night.name for night in nights),
        points=tuple(points),
        notes=(*notes, *_other_images(nights)),
    )


def _nights(directory: Path) -> tuple[list[_Night], list[str]]:
    """All that can be read, the oldest first, and why others can't."""
    runs = sorted(path.parent for path in directory.glob("*/run.json"))
    files = sorted(path for path in directory.glob("*.json") if path.name != "run.json")
    nights, notes = [], []
    for path in [*runs, *files]:
        try:
            found = baselines.read(path) if path in files else baselines.snapshot(RunDirectory(path))
        except SchemaError:
            raise
        except BenchError as error:
            notes.append(f"left out: {' '.join(str(error).split())}")
            continue
        nights.append(_Night(path.stem if path in files else path.name, found))
    if not nights:
        raise StoreError("\n".join([f"{directory}: no run and no baseline here that can be read", *notes]))
    return sorted(nights, key=lambda night: (night.found.made, night.name)), notes


_Numbers = tuple[Verdicts, FloatArray]


def _numbers(night: _Night, key: tuple[str, str, str], number: str) -> _Numbers | None:
    row = night.found.row(key)
    found = None if row is None else _of(row, number)
    return None if found is None else (found, found.outcomes(night.found.samples.count))


def _of(row: BaselineRow, number: str) -> Verdicts | None:
    if number in (CLEAN, WORST):
        return row.clean if number == CLEAN else row.worst
    return row.cells[number].robust if number in row.cells else None


def _point(
    night: _Night,
    key: tuple[str, str, str],
    verdicts: Verdicts | None,
    outcomes: FloatArray | None,
    change: tuple[Change, float, float] | None,
) -> NightPoint:
    row = night.found.row(key)
    model, defense = key[1], key[2]
    bound = row is not None and not row.complete
    found = None if outcomes is None else estimates.share(outcomes)
    kind, difference, p = change or ("", None, None)
    return NightPoint(
        night=night.name,
        made=night.found.made,
        threat_model=key[0],
        row=model if defense == "none" else f"{model} + {defense}",
        value=None if found is None else found.value,
        low=None if found is None or bound else found.low,
        high=None if found is None or bound else found.high,
        bound=bound and verdicts is not None,
        change=kind,
        difference=difference,
        p=p,
    )


# -- where it changed --------------------------------------------------------------------------------------------------

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Pair:
    """A night and the one that it is seen against."""

    key: _Key
    at: int
    against: int
    difference: float
    p: float


def _changes(
    nights: Sequence[_Night], series: dict[_Key, list[_Numbers | None]], alpha: float
) -> tuple[dict[tuple[_Key, int], tuple[Change, float, float]], int]:
    """By row and night, the changes that the corrected tests show; and how many tests there were."""
    pairs = [pair for key, found in series.items() for pair in _pairs(nights, key, found, alpha)]
    adjusted = holm([pair.p for pair in pairs])
    shown = {(pair.key, pair.at, pair.against): p for pair, p in zip(pairs, adjusted, strict=True) if p <= alpha}
    by_place = {(pair.key, pair.at, pair.against): pair for pair in pairs}
    marks: dict[tuple[_Key, int], tuple[Change, float, float]] = {}
    for key, found in series.items():
        quiet = True  # no change since the first night on these images
        for at in range(1, len(found)):
            first = _first(nights, at)
            jump, drift = (key, at, at - 1), (key, at, first)
            if first == at:
                quiet = True
            elif jump in shown or (quiet and drift in shown):
                kind: Change = "jump" if jump in shown else "drift"
                seen = jump if jump in shown else drift
                marks[key, at] = (kind, by_place[seen].difference, shown[seen])
                quiet = False
    return marks, len(pairs)


def _first(nights: Sequence[_Night], at: int) -> int:
    """The first of the nights without a break that were on the same images."""
    while at and nights[at - 1].images == nights[at].images:
        at -= 1
    return at


def _pairs(nights: Sequence[_Night], key: _Key, found: Sequence[_Numbers | None], alpha: float) -> Iterator[_Pair]:
    for at in range(1, len(found)):
        first = _first(nights, at)
        for against in sorted({at - 1, first} - {at}):
            one, other = found[against], found[at]
            if first == at or one is None or other is None:
                continue
            changed = int((one[1] != other[1]).sum())
            if 2 * 0.5**changed <= alpha:
                difference = float((other[1] - one[1]).mean())
                yield _Pair(key, at, against, difference, paired(other[1], one[1]))


def _other_images(nights: Sequence[_Night]) -> Iterator[str]:
    for before, night in pairwise(nights):
        if before.images != night.images:
            yield f"{night.name} is on other images than {before.name}: the two are not compared"


# -- renderings --------------------------------------------------------------------------------------------------------


def text(found: History) -> str:
    """Aligned plain text: a table per threat model, a line per night."""
    return _drawn(found, "plain", _as_it_is)


def markdown(found: History) -> str:
    """The same as Markdown; names are escaped."""
    return _drawn(found, "pipe", escape)


def comma_separated(found: History) -> str:
    """A line per row and night, shares, not %."""
    out = io.StringIO()
    fields = list(NightPoint.model_fields)
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(point.model_dump() for point in found.points)
    return out.getvalue()


def as_json(found: History) -> str:
    """All of it."""
    return found.model_dump_json(indent=1) + "\n"


FORMATS = {"text": text, "md": markdown, "csv": comma_separated, "json": as_json}


def frame(found: History) -> pd.DataFrame:
    """One line per row and night, with the fields of :class:`NightPoint` as columns; accuracies in %."""
    import pandas as pd

    lines = pd.DataFrame([point.model_dump() for point in found.points], columns=list(NightPoint.model_fields))
    for name in ("value", "low", "high", "difference"):
        lines[name] = 100 * lines[name].astype(float)
    return lines


def _as_it_is(text: str) -> str:
    return text


def _drawn(found: History, form: str, write: Callable[[str], str]) -> str:
    parts = [
        write(
            f"{found.suite}: {found.number} in %, {len(found.nights)} nights · ▼ ▲ jump against the night before, ▽ △ drift "
            f"against the first night: exact paired tests, Holm over {found.tests}, at {found.alpha:g}"
        )
    ]
    for ball in dict.fromkeys(point.threat_model for point in found.points):
        own = [point for point in found.points if point.threat_model == ball]
        rows = list(dict.fromkeys(point.row for point in own))
        lines = [
            [write(night), *(_shown(next(one for one in own if (one.night, one.row) == (night, row))) for row in rows)]
            for night in found.nights
        ]
        align = ("left", *["left"] * len(rows))
        table = tabulate(
            lines, headers=["night", *map(write, rows)], tablefmt=form, disable_numparse=True, colalign=align
        )
        title = f"## {write(ball)}" if form == "pipe" else ball
        parts.append("\n".join([title, *[""] * (form == "pipe"), *(line.rstrip() for line in table.splitlines())]))
    marks = [point for point in found.points if point.change]
    said = [
        f"{one.night}: {one.row} under {one.threat_model}: {one.change} of {100 * (one.difference or 0):+.1f} points "
        f"(p = {one.p:.2g} after Holm)"
        for one in marks
    ]
    said += [f"note: {note}" for note in found.notes]
    if said:
        parts.append("\n".join(f"- {write(line)}" if form == "pipe" else line for line in said))
    return "\n\n".join(parts) + "\n"


def _shown(point: NightPoint) -> str:
    if point.value is None:
        return "–"
    mark = _MARKS[point.change, (point.difference or 0) > 0] if point.change else ""
    return f"{'≤ ' if point.bound else ''}{percent(point.value)}{mark}"
