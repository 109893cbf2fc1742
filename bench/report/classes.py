"""Clean and robust accuracy by class, from the labels of the sample rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.errors import SchemaError, StoreError
from bench.leaderboard.grid import percent
from bench.store.cell_outcome import FloatArray
from bench.store.outcomes import RowOutcome, RunOutcome
from bench.store.run_directory import RunDirectory

MOST = 100
"""So many classes are shown, those with most images first."""
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the images of a class: in %, and as a count where nothing is random."""

    text: str
    sort: float
    count: str


@dataclass(frozen=True, slots=True)
class ClassLine:
    """One class: its images, what is right when clean, and what is left under each threat model."""

    name: str
    images: int
    clean: Share | None
    worst: tuple[Share | None, ...]


@dataclass(frozen=True, slots=True)
class Classes:
    """Lines of the classes that are shown, and how many aren't."""

    lines: tuple[ClassLine, ...]
    left_out: int


def labels(run: RunDirectory, outcome: RunOutcome) -> IntArray | None:
    """The label of each of the N samples; ``None`` where they have none, or where one isn't known."""
    positions = sorted(set(outcome.record.positions))
    found: dict[int, int] = {}
    for cell in outcome.record.cells:
        if positions and all(position in found for position in positions):
            break
        try:
            rows = run.read_samples(cell, ("position", "label"))
        except SchemaError:
            raise
        except StoreError:  # the leaderboard says which part is damaged
            continue
        found |= {int(at): int(one) for at, one in zip(rows["position"], rows["label"], strict=True)}
    positions = positions or sorted(found)
    known = np.array([found.get(position, -1) for position in positions], dtype=np.int64)
    return known if len(known) == outcome.samples and len(known) and bool((known >= 0).all()) else None


def by_class(rows: Sequence[RowOutcome | None], label: IntArray | None, names: Sequence[object]) -> Classes | None:
    """The numbers of one (model, defense) under several threat models.

    Args:
        rows: its row under each threat model, ``None`` where it has none.
        label: of each sample, shape (N,).
        names: of the classes, by label.
    """
    there = [row for row in rows if row is not None and row.known.any()]
    if label is None or not there:
        return None
    sizes = np.bincount(label)
    chosen = sorted(map(int, np.flatnonzero(sizes)), key=lambda one: (-sizes[one], one))
    clean = there[0].clean_correctness if there[0].known.all() else None
    worst = [row.worst_correctness if row is not None and row.known.any() else None for row in rows]
    bounds = [row is not None and not row.complete for row in rows]
    lines = []
    for one in sorted(chosen[:MOST]):
        mine = label == one
        lines.append(
            ClassLine(
                str(names[one]) if one < len(names) else f"class {one}",
                int(sizes[one]),
                _share(clean, mine, bound=False),
                tuple(_share(left, mine, bound=bound) for left, bound in zip(worst, bounds, strict=True)),
            )
        )
    return Classes(tuple(lines), max(0, len(chosen) - MOST))


def _share(outcomes: FloatArray | None, mine: npt.NDArray[np.bool_], *, bound: bool) -> Share | None:
    if outcomes is None:
        return None
    own = outcomes[mine]
    whole = bool(np.isin(own, (0, 1)).all())
    value = float(own.mean())
    return Share(
        ("≤ " if bound else "") + percent(value), value, f"{int(own.sum()):,}" if whole else f"{own.sum():,.1f}"
    )
