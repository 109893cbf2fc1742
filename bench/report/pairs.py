"""Every two rows of a table side by side, as :mod:`bench.stats` compares them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from bench.leaderboard.cells import changes, definition, named_cells
from bench.stats import paired, paired_interval
from bench.store.cell_outcome import CellOutcome, FloatArray
from bench.store.outcomes import RowOutcome

MOST_RANDOM = 60
"""So many pairs with a stochastic row are tested: each takes a randomisation test and a bootstrap."""
MOST = 2000
"""So many pairs of a table are tested."""
Told = dict[str, Any]  # Any: JSON values


def pairs(rows: Sequence[RowOutcome]) -> list[Told]:
    """The comparisons of a table's rows: ``a`` and ``b`` are places in it, differences those of b less a.

    ``clean`` and ``worst`` have ``difference``, ``low``, ``high``, ``p``, ``gained`` (images that b keeps and a loses) and
    ``lost``, or ``reason`` where they are not compared. A worst case is only compared where both rows are complete and were
    put to the same attacks, as ``bench compare`` does.

    Args:
        rows: in the order of the table.
    """
    found, random = [], 0
    clean = [row.clean_correctness for row in rows]
    worst = [row.worst_correctness for row in rows]
    for number, (i, j) in enumerate(combinations(range(len(rows)), 2)):
        draws = not all(np.isin(one, (0, 1)).all() for one in (clean[i], clean[j], worst[i], worst[j]))
        random += draws
        if number >= MOST or (draws and random > MOST_RANDOM):
            continue
        found.append(
            {
                "a": i,
                "b": j,
                "random": draws,
                "clean": _compared(clean[i], clean[j], _clean_reason(rows[i], rows[j])),
                "worst": _compared(worst[i], worst[j], _worst_reason(rows[i], rows[j])),
            }
        )
    return found


def _compared(a: FloatArray, b: FloatArray, reason: str) -> Told:
    if reason or not len(a):
        return {"reason": reason or "there are no images"}
    low, high = paired_interval(b, a)
    return {
        "difference": float((b - a).mean()),
        "low": low,
        "high": high,
        "p": paired(b, a),
        "gained": int((b > a).sum()),
        "lost": int((b < a).sum()),
    }


def _clean_reason(a: RowOutcome, b: RowOutcome) -> str:
    lacking = [row.label for row in (a, b) if not row.known.all()]
    return f"not every image has a record: {' and '.join(lacking)}" if lacking else ""


def _worst_reason(a: RowOutcome, b: RowOutcome) -> str:
    bounds = [row.label for row in (a, b) if not row.complete]
    if bounds:
        return f"only known to be at most that: {' and '.join(bounds)}"
    mine, theirs = _asked(a), _asked(b)
    lone = [name for name in dict.fromkeys([*mine, *theirs]) if (name in mine) != (name in theirs)]
    if lone:
        return f"only one of the rows was attacked with {', '.join(lone)}"
    other = [name for name in mine if _differ(mine[name], theirs[name])]
    return f"the rows were attacked with other parameters: {', '.join(other)}" if other else ""


def _asked(row: RowOutcome) -> dict[str, CellOutcome]:
    """The cells that the suite or a person asked for; those that the harness adds belong to the kind of the row."""
    return named_cells(cell for cell in row.attacked if cell.role in ("suite", "submitted"))


def _differ(a: CellOutcome, b: CellOutcome) -> bool:
    return a.result is not None and b.result is not None and bool(changes(definition(a.result), definition(b.result)))
