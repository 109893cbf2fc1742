"""Flags that a whole cell gets, from its rows and the reports of its shards."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.runner import cell_flags
from bench.store.parts import ShardReport, StageCost


def shards(names: tuple[str, ...]) -> list[ShardReport]:
    stages = tuple(StageCost(name=name, attacked=5, broken=0, seconds=0.0) for name in names)
    return [ShardReport(samples=50, seconds=1.0, device="cpu", batch_size=8, stages=stages) for _ in range(2)]


@pytest.mark.parametrize(
    ("n", "broken", "names", "severity"),
    [
        (100, 7, ("apgd-ce", "square"), "warning"),
        (100, 6, ("apgd-ce", "square"), "info"),
        (1000, 2, ("apgd-ce", "square"), None),
        (10_000, 20, ("apgd-ce", "square"), None),
        (10_000, 21, ("apgd-ce", "square"), "warning"),
        (100, 60, ("square",), None),
        (100, 60, ("square", "apgd-ce"), None),
    ],
)
def test_what_square_breaks_after_the_gradients_is_counted_over_all_shards(
    n: int, broken: int, names: tuple[str, ...], severity: str | None
) -> None:
    rows = pd.DataFrame(
        {"success": [index < 2 * broken for index in range(n)], "stage": ["square", "apgd-ce"] * (n // 2)}
    )
    found = cell_flags._square(rows, shards(names))
    assert [(flag.rule, flag.severity) for flag in found] == ([("autoattack-square", severity)] if severity else [])
    assert all(f"broke {broken} samples" in flag.message for flag in found)
