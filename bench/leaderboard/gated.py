"""The numbers that a gate tests, and what their tests say together.

The family-wise error rate of all accuracy tests of a gate is at most alpha: the chance that it fails although nothing got
worse. Two things keep its power. Numbers in which so few verdicts changed that even all in one direction would show nothing
don't count (Tarone 1990, Biometrics 46:515-522: the number of changed verdicts says nothing of their direction). And the
numbers that matter most, clean accuracy, worst case and mean accuracy under common corruptions of every row, share 9/10 of the
level, the single attacks and corruptions the rest (weighted Holm; what is rejected leaves its share to the others).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.leaderboard.baseline import BaselineRow
from bench.leaderboard.cells import CLEAN, CORRUPTED, WORST
from bench.leaderboard.corruption_baseline import BaselineCorrupted
from bench.leaderboard.verdicts import Verdicts
from bench.stats import paired_greater, weighted_holm
from bench.store.cell_outcome import FloatArray

PRIMARY = 0.9
"""Share of the level for clean accuracies, worst cases and means over corruptions."""


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """One number of a row before and now; ``after`` is ``None`` where the run has none."""

    row: BaselineRow | BaselineCorrupted
    number: str
    primary: bool
    before: FloatArray
    after: FloatArray | None
    bound: bool = False

    @property
    def changed(self) -> int:
        """How many verdicts differ."""
        return 0 if self.after is None else int((self.before != self.after).sum())


def tests_of(row: BaselineRow, now: BaselineRow | None, n: int) -> Iterator[Test]:
    """The numbers of a row that the baseline has; prerequisites are the suite's attacks again."""
    yield from _test(row, CLEAN, True, row.clean, None if now is None else now.clean, n)
    yield from _test(
        row, WORST, True, row.worst, None if now is None else now.worst, n, now is not None and not now.complete
    )
    cells = {name: cell for name, cell in row.cells.items() if cell.role != "prerequisite"}
    for name, cell in cells.items() if len(row.cells) > 1 else ():
        after = None if now is None else now.cells.get(name)
        if after is None or cell.definition == after.definition or not after.definition:
            invalid = after is not None and "invalid" in after.flags.values()
            yield from _test(row, name, False, cell.robust, None if after is None else after.robust, n, invalid)


def corrupted_tests(row: BaselineCorrupted, now: BaselineCorrupted | None, n: int) -> Iterator[Test]:
    """The numbers of a row under common corruptions: the mean over the cells of the baseline, and that of each corruption.

    What is made of other images now says nothing of the row: its definition has changed.
    """
    yield from _test(row, CLEAN, True, row.clean, None if now is None else now.clean, n)
    kinds = row.corruptions
    for number, names in {CORRUPTED: tuple(row.cells), **(kinds if len(kinds) > 1 else {})}.items():
        before = row.mean(names, n)
        if before is None or not _same_images(row, now, names):
            continue
        yield Test(row, number, number == CORRUPTED, before, None if now is None else now.mean(names, n))


def _same_images(row: BaselineCorrupted, now: BaselineCorrupted | None, names: Sequence[str]) -> bool:
    there = [(row.cells[name], now.cells[name]) for name in names if now is not None and name in now.cells]
    return all(before.same_images(after) or not after.definition for before, after in there)


def _test(
    row: BaselineRow | BaselineCorrupted,
    number: str,
    primary: bool,
    a: Verdicts | None,
    b: Verdicts | None,
    n: int,
    bound: bool = False,
) -> Iterator[Test]:
    if a is not None:
        yield Test(row, number, primary, a.outcomes(n), None if b is None else b.outcomes(n), bound)


def once(tests: Sequence[Test]) -> list[Test]:
    """Without the clean accuracies that another radius has already: they are the same numbers."""
    seen: dict[tuple[str, str], list[Test]] = {}
    kept = []
    for test in tests:
        key = test.row.model, test.row.defense
        if test.number == CLEAN:
            if any(_same(test, other) for other in seen.get(key, [])):
                continue
            seen.setdefault(key, []).append(test)
        kept.append(test)
    return kept


def _same(a: Test, b: Test) -> bool:
    if a.after is None or b.after is None:
        return False
    return bool((a.before == b.before).all() and (a.after == b.after).all())


def adjusted(tests: Sequence[Test], alpha: float) -> dict[int, tuple[float, float]]:
    """By identity of each test that counts, its p-value and the corrected one."""
    counted = [test for test in tests if test.after is not None and 0.5**test.changed <= alpha]
    if not counted:
        return {}
    primary = sum(test.primary for test in counted)
    weights = [PRIMARY / primary if test.primary else (1 - PRIMARY) / (len(counted) - primary) for test in counted]
    raw = [paired_greater(test.before, test.after) for test in counted if test.after is not None]
    corrected = weighted_holm(raw, weights)
    return {id(test): both for test, *both in zip(counted, raw, corrected, strict=True)}  # type: ignore[misc]
