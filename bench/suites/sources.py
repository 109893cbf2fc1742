"""From a place in a suite back to the line that it was written in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bench.errors import Problem
from bench.suites.nodes import Mark, Node
from bench.suites.short_forms import each_eps

Loc: TypeAlias = "tuple[str | int, ...]"
"""A place in a suite, such as ``("attacks", 1, "args", "steps")``."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The lines that a suite was read from; without a tree (a suite made in Python) there are none."""

    root: Node | None = None

    def node(self, loc: Loc) -> Node | None:
        """What was written at a place, or around it where a short form or a default stands for it."""
        node = self.root
        for part in self._written(loc):
            child = _child(node, part)
            if child is None and not (isinstance(part, int) and node is not None and not isinstance(node.value, list)):
                break
            node = child or node
        return node

    def mark(self, loc: Loc) -> Mark | None:
        """The place in the file of a place in the suite."""
        node = self.node(loc)
        return node.mark if node is not None else None

    def problem(self, loc: Loc, message: str, accepted: str = "") -> Problem:
        """A problem at a place of the suite, with the file and the line of that place."""
        key = ".".join(str(part) for part in self._written(loc))
        mark = self.mark(loc)
        if mark is None:
            return Problem(message, "", None, key, accepted)
        return Problem(message, mark.file, mark.line, key, accepted)

    def _written(self, loc: Loc) -> Loc:
        """The place as it was written and as ``--set`` takes it: parameters beside the name where they stand there."""
        place: list[str | int] = []
        node = self.root
        loc = self._one_of_several(loc)
        for part, following in zip(loc, (*loc, None)[1:], strict=True):
            child = _child(node, part)
            beside = child is None or (following is not None and _child(node, following) is not None)
            if part == "args" and following is not None and _child(child, following) is None and beside:
                continue
            if part == "architecture_args" and child is None:
                part, child = "architecture", _child(node, "architecture")
            place.append(part)
            node = child
        return tuple(place)

    def _one_of_several(self, loc: Loc) -> Loc:
        """A threat model among those that one item with several radii stands for."""
        items = _child(self.root, "threat_models")
        if len(loc) < 2 or loc[0] != "threat_models" or not isinstance(loc[1], int) or items is None:
            return loc
        plain = items.plain()
        place = [
            (index, radius)
            for index, item in enumerate(plain if isinstance(plain, list) else [plain])
            for radius in range(len(each_eps(item)))
        ]
        if loc[1] >= len(place):
            return loc
        index, radius = place[loc[1]]
        eps = _child(_child(items, index) or items, "eps")
        several = eps is not None and isinstance(eps.value, list) and eps.value and loc[2:] == ("eps",)
        return ("threat_models", index, *loc[2:], *((radius,) if several else ()))


def _child(node: Node | None, part: str | int) -> Node | None:
    if node is None:
        return None
    if isinstance(node.value, dict) and isinstance(part, str):
        return node.value.get(part)
    if isinstance(node.value, list) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part]
    return None


def in_order(problems: Iterable[Problem], files: Sequence[str] = ()) -> list[Problem]:
    """Each problem once, in the order of the lines; what came from ``--set`` last."""
    order = {file: index for index, file in enumerate(files)}
    unique = dict.fromkeys(problems)

    def place(problem: Problem) -> tuple[bool, int, str, int]:
        return problem.line is None, order.get(problem.file, len(order)), problem.file, problem.line or 0

    return sorted(unique, key=place)
