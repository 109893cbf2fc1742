"""What a run still has to do: the shards of its cells that have samples without a row."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import numpy as np

from bench.runner.preflight import Plan, PlannedCell
from bench.runner.recognised import Recognised
from bench.runner.shards import Shard
from bench.store.run_directory import RunDirectory
from bench.suites.families import running_order

_T = TypeVar("_T")


def examples_bytes(plan: Plan) -> int:
    """The most bytes of adversarial examples that the plan's cells may save."""
    each = int(np.prod(plan.dataset.shape)) * 4
    saving = sum(planned.keep != "none" for planned in plan.cells)
    return saving * len(plan.dataset) * each


def in_running_order(plan: Plan) -> list[int]:
    """The places of the plan's cells in the order of running: every cell after the smaller eps that it builds on."""
    return running_order([planned.cell for planned in plan.cells])


def look(plan: Plan, one: Callable[[PlannedCell, bool], _T]) -> dict[str, _T]:
    """Looks at every cell, those before the ones that they build on.

    Args:
        plan: the suite.
        one: takes a cell and whether a larger eps is going to need its examples, and tells what is pending: nothing
            where that is empty.

    Returns:
        By the cells' ids what ``one`` told.
    """
    found: dict[str, _T] = {}
    needed: set[str] = set()
    for place in reversed(in_running_order(plan)):
        planned = plan.cells[place]
        found[planned.id] = one(planned, planned.id in needed)
        if found[planned.id] and planned.smaller is not None:
            needed.add(planned.smaller.id)
    return found


def state(left: int, total: int) -> str:
    """How far a cell is, for people.

    Args:
        left: its samples without a row.
        total: all of them.
    """
    return "done" if not left else "to do" if left == total else "partly done"


def pending_shards(
    plan: Plan,
    planned: PlannedCell,
    directory: RunDirectory,
    recognised: Recognised | None = None,
    *,
    needed: bool = False,
) -> list[Shard]:
    """The shards of a cell that have samples without a row.

    Args:
        plan: the suite.
        planned: the cell.
        directory: the run.
        recognised: knows finished cells without reading their rows.
        needed: whether a larger eps is going to need its examples: a success without its example is pending too.

    Raises:
        StoreError: where a part is damaged.
    """
    if recognised is not None and not needed and recognised.result(planned) is not None:
        return []
    rows = directory.read_samples(planned.id, ("sample_id", "sample_digest", "success"))
    known = dict(zip(rows["sample_id"], rows["sample_digest"], strict=True))
    done = {
        index
        for index, sample in enumerate(plan.dataset.sample_ids if known else ())
        if sample in known and known[sample] == plan.dataset.sample_digest(index)
    }
    if (planned.keep == "all" or needed) and done:
        kept = set(directory.read_examples(planned.id).sample_ids)
        if planned.keep != "all":
            kept |= set(rows["sample_id"][~rows["success"].astype(bool)])
        done = {index for index in done if plan.dataset.sample_ids[index] in kept}
    size, shards = plan.suite.run.shard_size, []
    for number, start in enumerate(range(0, len(plan.dataset), size)):
        members = _places(start, min(start + size, len(plan.dataset)))
        if done:
            members = tuple(index for index in members if index not in done)
        if members:
            shards.append(Shard(planned.cell, planned.id, number, members, planned.keep))
    return shards


@lru_cache(maxsize=1 << 12)
def _places(start: int, stop: int) -> tuple[int, ...]:
    """The places of a shard; kept, as every cell has the same: apart, those of 50 million rows would take 2 GiB."""
    return tuple(range(start, stop))
