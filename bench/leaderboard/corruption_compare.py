"""Two rows under common corruptions, compared image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.leaderboard.cells import CLEAN, CORRUPTED, CORRUPTIONS, changes
from bench.leaderboard.comparison import Entry, Pair
from bench.leaderboard.paired_numbers import Shared, entry_of
from bench.store.corruption_outcomes import CorruptedCell, CorruptedRow, FloatArray, mean_correctness

SHARED = "mean of the shared corruptions"
_Both = tuple[CorruptedCell, CorruptedCell]


def corrupted_pair(left: CorruptedRow, right: CorruptedRow, shared: Shared, only: tuple[int, int]) -> Pair:
    """The numbers of both: clean accuracy, the mean over the corruptions, and each corruption over its severities.

    Args:
        left: of A.
        right: of B.
        shared: the images that both have.
        only: how many images only A, and only B has.
    """
    mine, theirs = left.corruptions, right.corruptions
    reasons = {
        kind: _reason(mine.get(kind, ()), theirs.get(kind, ()), shared) for kind in dict.fromkeys([*mine, *theirs])
    }
    same = [kind for kind, reason in reasons.items() if not reason]
    entries = [_clean(left, right, shared), _mean(mine, theirs, reasons, shared)]
    if same and len(same) < len(reasons):
        name = f"{SHARED} ({', '.join(same)})"
        a, b = ({kind: cells[kind] for kind in same} for cells in (mine, theirs))
        entries.append(_entry(name, a, b, shared))
    if len(reasons) > 1:
        entries += [
            _entry(kind, {kind: mine.get(kind, ())}, {kind: theirs.get(kind, ())}, shared, reason)
            for kind, reason in reasons.items()
        ]
    return Pair(
        threat_model="Common corruptions",
        norm=CORRUPTIONS,
        eps="",
        a=left.label,
        b=right.label,
        images=len(shared.a),
        only_a=only[0],
        only_b=only[1],
        entries=tuple(entries),
        notes=tuple(_notes(left, right, shared)),
    )


def _clean(left: CorruptedRow, right: CorruptedRow, shared: Shared) -> Entry:
    a, b = left.clean_correctness[shared.a], right.clean_correctness[shared.b]
    lacking = [f"{side} lacks rows" for side, found in (("A", a), ("B", b)) if np.isnan(found).any()]
    return entry_of(CLEAN, "clean", a, b, shared, reason=" and ".join(lacking), unknown=bool(lacking))


def _mean(
    mine: dict[str, tuple[CorruptedCell, ...]],
    theirs: dict[str, tuple[CorruptedCell, ...]],
    reasons: dict[str, str],
    shared: Shared,
) -> Entry:
    told = "; ".join(f"{kind}: {reason}" for kind, reason in reasons.items() if reason)
    return _entry(CORRUPTED, mine, theirs, shared, told)


def _entry(
    name: str,
    mine: dict[str, tuple[CorruptedCell, ...]],
    theirs: dict[str, tuple[CorruptedCell, ...]],
    shared: Shared,
    reason: str = "",
) -> Entry:
    a, b = _shares(mine), _shares(theirs)
    return entry_of(
        name,
        "corruption",
        None if a is None else a[shared.a],
        None if b is None else b[shared.b],
        shared,
        reason=reason,
    )


def _shares(kinds: dict[str, tuple[CorruptedCell, ...]]) -> FloatArray | None:
    """For each image the mean over these corruptions; ``None`` where one of their cells isn't done."""
    if any(not cells or any(cell.status != "done" for cell in cells) for cells in kinds.values()):
        return None
    return mean_correctness({kind: [cell.correctness for cell in cells] for kind, cells in kinds.items()})


def _reason(a: Sequence[CorruptedCell], b: Sequence[CorruptedCell], shared: Shared) -> str:
    """Why a corruption can't be compared; empty where it can."""
    if not a or not b:
        here, away = ("B", "A") if not a else ("A", "B")
        return f"only {here} has it, {away} doesn't"
    severities = [", ".join(str(cell.severity) for cell in cells) for cells in (a, b)]
    if severities[0] != severities[1]:
        return f"severities {severities[0]} in A, {severities[1]} in B"
    states = [
        f"{side}: severity {cell.severity}: {cell.status}: {cell.reason}"
        for side, cells in (("A", a), ("B", b))
        for cell in cells
        if cell.status != "done"
    ]
    if states:
        return "; ".join(states)
    others = [
        both for both in zip(a, b, strict=True) if both[0].made_of != both[1].made_of and _differing(both, shared)
    ]
    if others:
        return f"other corrupted images in A and B: {changes(others[0][0].made_of, others[0][1].made_of)}"
    return ""


def _differing(both: _Both, shared: Shared) -> int:
    """How many of the shared images are corrupted otherwise."""
    a, b = (cell.images().corrupted_digests[at] for cell, at in zip(both, shared[:2], strict=True))
    return int((a != b).sum())


def _notes(left: CorruptedRow, right: CorruptedRow, shared: Shared) -> list[str]:
    """What else differs, that a reader of the differences must know."""
    notes = []
    a, b = (next((cell.result for cell in row.cells if cell.result is not None), None) for row in (left, right))
    if a is not None and b is not None and left.defense == right.defense:
        differing = changes(a.defense.model_dump(), b.defense.model_dump())
        notes += [f"the defense {left.defense} has other parameters in A and B: {differing}"] if differing else []
    theirs = {(cell.corruption, cell.severity): cell for cell in right.cells if cell.status == "done"}
    both = [
        (cell, theirs[cell.corruption, cell.severity])
        for cell in left.cells
        if cell.status == "done" and (cell.corruption, cell.severity) in theirs
    ]
    others = sum(_differing(pair, shared) for pair in both if pair[0].made_of == pair[1].made_of)
    if others:
        notes.append(f"{others:,} corrupted images are others in A and B, though the same libraries made them")
    return notes
