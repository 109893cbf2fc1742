"""One number of every row over many runs, and where it changed.

A night is a run or a baseline. Each is paired with the night before it, image by image, and with the first one that measured
the same on the same images: the first finds a jump, the second a slow drift in which no single night stands out. All are
exact McNemar tests (a randomisation test where a defense is stochastic), with Holm's correction over all rows and nights, so
that in a history in which nothing happened anything is marked with probability alpha at most. Pairs in which so few verdicts
changed that even all in one direction would show nothing don't count (Tarone 1990, Biometrics 46:515-522): nights that repeat
each other, the usual case, cost no power. A chart of sums (CUSUM) would need to know how much a healthy night varies; paired
verdicts don't.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench.errors import BenchError, SchemaError, StoreError, UnknownNameError
from bench.leaderboard import baseline as baselines
from bench.leaderboard.baseline import key_of
from bench.leaderboard.cells import CLEAN, CORRUPTED, WORST
from bench.leaderboard.grid import percent
from bench.leaderboard.markdown import escape
from bench.leaderboard.nights import (
    Change,
    Key,
    Night,
    Number,
    Seen,
    beginnings,
    breaks,
    changed,
    number_of,
    numbers_of,
)
from bench.leaderboard.records import Record
from bench.metrics import estimates
from bench.store.run_directory import RunDirectory

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
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
    """``jump``: against the night before; ``drift``: against the first night that measured the same, without a jump since"""
    anew: bool = False
    """whether it isn't compared with the nights before: other images, or made by other attacks or another defense"""
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


def history(
    directory: Path,
    number: str | None = None,
    alpha: float = 0.05,
    *,
    threat_model: str | None = None,
    suite: str | None = None,
) -> History:
    """The number of every row over the runs, or the baselines, of a directory.

    Args:
        directory: ``results/<suite>`` with its runs, or a directory of baselines.
        number: ``clean``, ``worst case`` or a cell's name, such as ``pgd-20``; under common corruptions ``corrupted`` (their
            mean), a corruption, such as ``fog``, or one at one severity, ``fog 3``. By default the worst case, or the mean
            under corruptions where nothing was attacked.
        alpha: family-wise error rate of the marks.
        threat_model: only this one, ``norm:eps`` with the exact eps, or norm.
        suite: only the nights of this suite.

    Raises:
        StoreError: where there is nothing to show, or where suites differ and none is named.
        UnknownNameError: where no row has the number, the threat model or the suite.
    """
    nights, notes = _nights(directory)
    nights, name = _of_suite(directory, nights, suite)
    keys = list(dict.fromkeys(key for night in nights for key in night.found.keys))
    number = number or (WORST if any(night.found.rows for night in nights) else CORRUPTED)
    keys = _under(keys, threat_model)
    series = {key: [number_of(night, key, number) for night in nights] for key in keys}
    series = {key: found for key, found in series.items() if any(one is not None for one in found)}
    if not series:
        raise _unknown("number", number, _numbers(nights, keys))
    seen, tests = changed(series, alpha)
    begun = beginnings(series)
    return History(
        suite=name,
        number=number,
        alpha=alpha,
        tests=tests,
        nights=tuple(night.name for night in nights),
        points=tuple(
            _point(night, key, found[at], seen.get((key, at)), anew=(key, at) in begun)
            for key, found in series.items()
            for at, night in enumerate(nights)
        ),
        notes=(*notes, *breaks(nights, series)),
    )


def _of_suite(directory: Path, nights: list[Night], wanted: str | None) -> tuple[list[Night], str]:
    """The nights of one suite, and its name."""
    suites = list(dict.fromkeys(night.found.suite for night in nights))
    if wanted is not None and wanted not in suites:
        raise _unknown("suite", wanted, suites)
    if wanted is None and len(suites) > 1:
        raise StoreError(f"{directory}: several suites here ({', '.join(suites)}); name one with --suite")
    name = wanted or suites[0]
    return [night for night in nights if night.found.suite == name], name


def _under(keys: list[Key], threat_model: str | None) -> list[Key]:
    """The rows of a threat model."""
    if threat_model is None:
        return keys
    found = [key for key in keys if threat_model.lower() in (key[0], key[0].split(":")[0])]
    if not found:
        raise _unknown("threat model", threat_model, [key[0] for key in keys])
    return found


def _numbers(nights: list[Night], keys: list[Key]) -> list[str]:
    """The numbers that these rows have."""
    attacked = [row for night in nights for row in night.found.rows if key_of(row) in keys]
    corrupted = [row for night in nights for row in night.found.corrupted if key_of(row) in keys]
    names = [CLEAN, *([WORST] if attacked else []), *(name for row in attacked for name in row.cells)]
    return names + [name for row in corrupted for name in numbers_of(row)]


def _unknown(kind: str, name: str, known: list[str]) -> UnknownNameError:
    names = list(dict.fromkeys(known))
    return UnknownNameError(kind, name, difflib.get_close_matches(name, names, n=3), names)


def _nights(directory: Path) -> tuple[list[Night], list[str]]:
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
        nights.append(Night(path.stem if path in files else path.name, found))
    if not nights:
        raise StoreError("\n".join([f"{directory}: no run and no baseline here that can be read", *notes]))
    return sorted(nights, key=lambda night: (night.found.made, night.name)), notes


def _point(night: Night, key: Key, number: Number | None, seen: Seen | None, *, anew: bool) -> NightPoint:
    _, model, defense = key
    found = None if number is None else estimates.share(number.outcomes)
    bound = number is not None and number.bound
    return NightPoint(
        night=night.name,
        made=night.found.made,
        threat_model=key[0],
        row=model if defense == "none" else f"{model} + {defense}",
        value=None if found is None else found.value,
        low=None if found is None or bound else found.low,
        high=None if found is None or bound else found.high,
        bound=bound,
        anew=anew,
        change="" if seen is None else seen.change,
        difference=None if seen is None else seen.difference,
        p=None if seen is None else seen.p,
    )


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
    nights = f"{len(found.nights)} night{'s' * (len(found.nights) != 1)}"
    parts = [
        write(
            f"{found.suite}: {found.number} in %, {nights} · ▼ ▲ jump against the night before, ▽ △ drift against the first "
            f"night: exact paired tests, Holm over {found.tests}, at {found.alpha:g}"
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
