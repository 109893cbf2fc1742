"""In which order the cells of a plan can be evaluated."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sized
from graphlib import TopologicalSorter

from bench.runner.pending import in_running_order
from bench.runner.preflight import Plan
from bench.suites.expand import Makers


class Order:
    """The places of a plan's cells as they become ready: after those whose examples they read.

    Args:
        plan: the suite.

    Attributes:
        number: of each place, from 1, when cells are evaluated one after the other.
    """

    def __init__(self, plan: Plan) -> None:
        self.number = {place: number for number, place in enumerate(in_running_order(plan), start=1)}
        self._needs = TopologicalSorter(_needs(plan))
        self._needs.prepare()
        self._ready: list[tuple[int, int]] = []
        self._opening = False
        self._collect()

    def __bool__(self) -> bool:
        return bool(self._ready)

    def next(self) -> int:
        """The place of the first cell that is ready; it is given once."""
        return heapq.heappop(self._ready)[1]

    def open_more(self, waiting: Sized, ahead: float, open_cell: Callable[[int], None]) -> None:
        """Opens cells that are ready, until as many shards wait as an executor wants to choose from.

        Args:
            waiting: the shards that wait; opening a cell adds its own.
            ahead: how many the executor wants.
            open_cell: takes a cell's place; it may finish the cell at once, and come here again.
        """
        if self._opening:  # a cell that is finished as soon as it is opened: the loop below goes on
            return
        self._opening = True
        try:
            while self and len(waiting) < ahead:
                open_cell(self.next())
        finally:
            self._opening = False

    def finished(self, place: int) -> None:
        """A cell has its record, whatever that says."""
        self._needs.done(place)
        self._collect()

    def _collect(self) -> None:
        for place in self._needs.get_ready():
            heapq.heappush(self._ready, (self.number[place], place))


def _needs(plan: Plan) -> dict[int, set[int]]:
    """For each place those of the cells that it builds on."""
    places: dict[str, int] = {}
    for place, planned in enumerate(plan.cells):
        places.setdefault(planned.id, place)
    made = {id(planned.cell): place for place, planned in enumerate(plan.cells)}
    makers = Makers(planned.cell for planned in plan.cells)

    def of(place: int) -> Iterator[int]:
        planned = plan.cells[place]
        if places[planned.id] < place:  # the same cell under another name: its rows are there by then
            yield places[planned.id]
        if planned.smaller is not None:
            yield places[planned.smaller.id]
        if planned.cell.transferred:
            yield made[id(makers.of(planned.cell))]

    return {place: set(of(place)) for place in range(len(plan.cells))}
