"""Two runs, or two rows of one, compared image by image.

Only what can be compared is: the same dataset, the same threat model, the same attacks, on the images that both have.
Everything else is refused with the reason, and what is only known to be at most a number is shown as that and not tested.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.errors import StoreError
from bench.leaderboard.cells import CLEAN, WORST, changes, definition, named_cells, reseeded
from bench.leaderboard.comparison import Comparison, Entry, Pair, Refused, Side
from bench.leaderboard.corruption_compare import corrupted_pair
from bench.leaderboard.matched import EVERYTHING, Chosen, matched, matched_corruptions
from bench.leaderboard.paired_numbers import Shared, entry_of, shared_images
from bench.stats import holm
from bench.store.cell_outcome import CellOutcome, least_correct
from bench.store.outcomes import RowOutcome, RunOutcome, read_outcomes
from bench.store.run_directory import RunDirectory

SHARED = "worst of the shared attacks"


def compare(a: RunDirectory, b: RunDirectory | None, chosen: Chosen = EVERYTHING, alpha: float = 0.05) -> Comparison:
    """Compares two runs row by row, or the rows of one with each other.

    Args:
        a: the first run; differences are those of the second less it.
        b: the second; ``None`` compares rows of the first.
        chosen: which rows.
        alpha: level of the tests, for the renderings.

    Raises:
        StoreError: where nothing can be compared, with the reasons, or where the records can't be read.
        UnknownNameError: where no row is meant, with what would be accepted.
    """
    one = read_outcomes(a)
    other = one if b is None else read_outcomes(b)
    there = b or a
    _same_dataset(a, one, there, other)
    pairs, refused = list[Pair](), list[Refused]()
    for find in (_attacked, _corrupted):
        found, left_out = find(one, other, chosen, b is None)
        pairs += found
        refused += left_out
    if not pairs:
        reasons = "\n".join(f"{item.subject}: {item.reason}" for item in refused) or "there are no two rows to compare"
        raise StoreError(f"{a.path} and {there.path} can't be compared:\n{reasons}")
    pairs, tests = _corrected(pairs)
    return Comparison(
        a=_side(a, one), b=_side(there, other), alpha=alpha, tests=tests, pairs=tuple(pairs), refused=tuple(refused)
    )


_Found = tuple[list[Pair], list[Refused]]


def _attacked(one: RunOutcome, other: RunOutcome, chosen: Chosen, same: bool) -> _Found:
    """The rows under threat models."""
    pairs, refused = list[Pair](), list[Refused]()
    if chosen.corruptions_alone:
        return pairs, refused
    if not (one.rows and other.rows) and (one.corrupted or other.corrupted):
        return pairs, _one_sided("attacks", "A" if one.rows else "B") if one.rows or other.rows else []
    for left, right in matched(one, other, chosen, same=same):
        if isinstance(right, str) or isinstance(left, str):
            refused.append(_alone(left, right, one, other))
            continue
        try:
            pairs.append(_pair(one, left, other, right))
        except StoreError as error:
            refused.append(Refused(subject=_subject(left, right), reason=str(error)))
    return pairs, refused


def _corrupted(one: RunOutcome, other: RunOutcome, chosen: Chosen, same: bool) -> _Found:
    """The rows under common corruptions."""
    pairs, refused = list[Pair](), list[Refused]()
    if chosen.threat_model is not None and not chosen.corruptions_alone:
        return pairs, refused
    if not (one.corrupted and other.corrupted):
        there = "A" if one.corrupted else "B"
        return pairs, _one_sided("common corruptions", there) if one.corrupted or other.corrupted else []
    for left, right in matched_corruptions(one, other, chosen, same=same):
        if left is None or right is None:
            here, away = ("A", "B") if right is None else ("B", "A")
            label = (left or right).label  # type: ignore[union-attr]
            reason = f"only {here} has it; {away} has no such row"
            refused.append(Refused(subject=f"{label} under common corruptions", reason=reason))
            continue
        try:
            shared = shared_images(one, other)
        except StoreError as error:
            return [], [Refused(subject="common corruptions", reason=str(error))]
        only = len(one.sample_ids) - len(shared.a), len(other.sample_ids) - len(shared.b)
        pairs.append(corrupted_pair(left, right, shared, only))
    return pairs, refused


def _one_sided(what: str, there: str) -> list[Refused]:
    return [Refused(subject=what, reason=f"only {there} has rows under them")]


def _side(run: RunDirectory, outcome: RunOutcome) -> Side:
    return Side(
        path=str(run.path), suite=outcome.record.suite.name, run=outcome.record.run, images=len(outcome.sample_ids)
    )


def _same_dataset(a: RunDirectory, one: RunOutcome, b: RunDirectory, other: RunOutcome) -> None:
    """Refuses another dataset, or the same one with other files."""
    for what in ("name", "digest"):
        left, right = one.record.dataset.get(what), other.record.dataset.get(what)
        if left != right:
            raise StoreError(
                f"another dataset: {what} {left} in {a.path}, {right} in {b.path} (accepted: runs on the same images)"
            )


def _alone(left: RowOutcome | str, right: RowOutcome | str, one: RunOutcome, other: RunOutcome) -> Refused:
    """Why a row of one side has none on the other."""
    here, row, there = ("A", left, right) if isinstance(right, str) else ("B", right, left)
    away = "B" if here == "A" else "A"
    assert isinstance(row, RowOutcome)
    ball = row.threat_model.label
    has = f"{away} has it under {there}" if there else f"{away} has no such row"
    return Refused(subject=f"{row.label} under {ball}", reason=f"only {here} has it; {has}")


def _subject(left: RowOutcome, right: RowOutcome) -> str:
    names = left.label if left.label == right.label else f"{left.label} and {right.label}"
    return f"{names} under {left.threat_model.label}"


# -- two rows ----------------------------------------------------------------------------------------------------------


def _pair(one: RunOutcome, left: RowOutcome, other: RunOutcome, right: RowOutcome) -> Pair:
    shared = shared_images(one, other)
    mine = named_cells(left.attacked)
    theirs, seeds = reseeded(mine, named_cells(right.attacked))
    same, differing = _same_attacks(mine, theirs)
    entries = [_clean(left, right, shared)]
    entries += [_cell(name, mine.get(name), theirs.get(name), shared) for name in _shown(left, right, mine, theirs)]
    entries += _worst(left, right, shared, same, differing, mine, theirs)
    return Pair(
        threat_model=left.threat_model.label,
        norm=left.threat_model.norm,
        eps=str(left.threat_model.eps),
        a=left.label,
        b=right.label,
        images=len(shared.a),
        only_a=len(one.sample_ids) - len(shared.a),
        only_b=len(other.sample_ids) - len(shared.b),
        entries=tuple(entries),
        notes=(*_notes(left, right), *seeds),
    )


def _shown(
    left: RowOutcome, right: RowOutcome, mine: dict[str, CellOutcome], theirs: dict[str, CellOutcome]
) -> list[str]:
    """The cells that get a number of their own.

    Prerequisites are the suite's attacks again; a bare row has none of the cells that the harness adds to defended ones. All
    of them count in the worst case.
    """
    cells = {**theirs, **mine}
    return [
        name
        for name in dict.fromkeys([*mine, *theirs])
        if cells[name].role in ("suite", "submitted")
        or (cells[name].role != "prerequisite" and (left.bare == right.bare or (name in mine and name in theirs)))
    ]


def _same_attacks(mine: dict[str, CellOutcome], theirs: dict[str, CellOutcome]) -> tuple[list[str], list[str]]:
    """Names of the attacks that both rows were put to, and why others can't be compared.

    The cells that the harness adds by itself (oblivious, gradient-free, ...) belong to the kind of the row.
    """
    own = [cell for cell in (*mine.values(), *theirs.values()) if cell.role in ("suite", "submitted")]
    wanted = {name for cells in (mine, theirs) for name, cell in cells.items() if cell in own}
    same, differing = [], []
    for name in dict.fromkeys([*mine, *theirs]):
        reason = _incomparable(name, mine.get(name), theirs.get(name))
        if not reason:
            same.append(name)
        elif name in wanted:
            differing.append(reason)
    return same, differing


def _incomparable(name: str, a: CellOutcome | None, b: CellOutcome | None) -> str:
    """Why two cells of one name aren't the same attack; empty where they are."""
    if a is None or b is None:
        here, away = ("B", "A") if a is None else ("A", "B")
        return f"{name}: only {here} has it, {away} doesn't"
    if a.result is None or b.result is None:
        return ""
    differing = changes(definition(a.result), definition(b.result))
    return f"{name}: another attack in A and B: {differing}" if differing else ""


def _clean(left: RowOutcome, right: RowOutcome, shared: Shared) -> Entry:
    lacking = [f"{side} lacks rows" for side, row in (("A", left), ("B", right)) if not row.known.all()]
    a, b = left.clean_correctness[shared.a], right.clean_correctness[shared.b]
    return entry_of(CLEAN, "clean", a, b, shared, reason=" and ".join(lacking), unknown=bool(lacking))


def _cell(name: str, a: CellOutcome | None, b: CellOutcome | None, shared: Shared) -> Entry:
    reason = _incomparable(name, a, b).removeprefix(f"{name}: ")
    states = [f"{side}: {_state(cell)}" for side, cell in (("A", a), ("B", b)) if cell is not None and not cell.valid]
    found = entry_of(
        name,
        "attack",
        None if a is None or a.status != "done" else a.correctness[shared.a],
        None if b is None or b.status != "done" else b.correctness[shared.b],
        shared,
        reason="; ".join([reason] * bool(reason) + states),
        bounds=(a is not None and not a.valid, b is not None and not b.valid),
    )
    if a is None or b is None or reason or a.status != "done" or b.status != "done":
        return found
    return found.model_copy(update={"seconds": _seconds([a], [b]), "passes": _passes([a], [b], shared)})


def _state(cell: CellOutcome) -> str:
    return f"{cell.status}: {' '.join(cell.reason.split())}" if cell.status != "done" else "invalid"


def _worst(
    left: RowOutcome,
    right: RowOutcome,
    shared: Shared,
    same: Sequence[str],
    differing: Sequence[str],
    mine: dict[str, CellOutcome],
    theirs: dict[str, CellOutcome],
) -> list[Entry]:
    """The rows' own numbers; where they were put to other attacks, those of the shared ones besides."""
    known = [
        row.worst_correctness[at] if row.known.any() else None for row, at in ((left, shared.a), (right, shared.b))
    ]
    bounds = (not left.complete, not right.complete)
    states = [f"{side}: the row isn't complete" for side, bound in zip("AB", bounds, strict=True) if bound]
    cells = list(mine.values()), list(theirs.values())
    reason = "; ".join([*differing, *states])
    found = [entry_of(WORST, "worst case", known[0], known[1], shared, reason=reason, bounds=bounds)]
    if not reason:
        cost = {"seconds": _seconds(*cells), "passes": _passes(*cells, shared)}
        return [found[0].model_copy(update=cost)]
    both = [(mine[name], theirs[name]) for name in same if mine[name].valid and theirs[name].valid]
    if differing and both:
        a, b = (tuple(side) for side in zip(*both, strict=True))
        found.append(
            entry_of(
                f"{SHARED} ({', '.join(name for name in same if mine[name].valid and theirs[name].valid)})",
                "worst case",
                least_correct(a)[shared.a],
                least_correct(b)[shared.b],
                shared,
            ).model_copy(update={"seconds": _seconds(a, b), "passes": _passes(a, b, shared)})
        )
    return found


def _seconds(a: Sequence[CellOutcome], b: Sequence[CellOutcome]) -> float | None:
    one, other = (
        sum(cell.result.cost.seconds / cell.result.samples for cell in cells if cell.result and cell.result.cost)
        for cells in (a, b)
    )
    return other / one if one and other else None


def _passes(a: Sequence[CellOutcome], b: Sequence[CellOutcome], shared: Shared) -> float | None:
    one, other = (
        float(sum(np.nansum(cell.passes[at]) for cell in cells)) for cells, at in ((a, shared.a), (b, shared.b))
    )
    return other / one if one and other else None


def _notes(left: RowOutcome, right: RowOutcome) -> tuple[str, ...]:
    """What else differs, that a reader of the differences must know."""
    a, b = (next((cell.result for cell in row.cells if cell.result is not None), None) for row in (left, right))
    if a is None or b is None:
        return ()
    notes = []
    if a.precision != b.precision:
        notes.append(f"precision {a.precision} in A, {b.precision} in B")
    if left.defense == right.defense and (differing := changes(a.defense.model_dump(), b.defense.model_dump())):
        notes.append(f"the defense {left.defense} has other parameters in A and B: {differing}")
    roles = [{cell.role for cell in row.attacked} - {"suite", "submitted"} for row in (left, right)]
    for side, more in (("A", roles[0] - roles[1]), ("B", roles[1] - roles[0])):
        if more:
            kinds = ", ".join(sorted(role.replace("_", "-") for role in more))
            notes.append(f"the worst case of {side} has cells of a kind that the other lacks: {kinds}")
    return tuple(notes)


# -- many tests --------------------------------------------------------------------------------------------------------


def _corrected(pairs: Sequence[Pair]) -> tuple[list[Pair], int]:
    """The pairs with Holm's correction over every test; a clean accuracy that stands under several radii is one test."""
    tests: dict[tuple[object, ...], float] = {}
    for at, pair in enumerate(pairs):
        tests |= {_key(at, pair, entry): entry.p for entry in pair.entries if entry.p is not None}
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    return [
        pair.model_copy(
            update={
                "entries": tuple(
                    entry.model_copy(update={"adjusted": adjusted.get(_key(at, pair, entry))}) for entry in pair.entries
                )
            }
        )
        for at, pair in enumerate(pairs)
    ], len(tests)


def _key(at: int, pair: Pair, entry: Entry) -> tuple[object, ...]:
    if entry.kind == "clean":
        return CLEAN, pair.a, pair.b, entry.lost, entry.gained
    return at, entry.name
