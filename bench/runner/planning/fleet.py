"""The devices that a plan is made for, as in ``8xH100`` or ``4xH100,2xA100``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

from bench.errors import BenchError, UnknownNameError

FORM = "COUNTxNAME with a count of at least 1, such as 8xH100, 2xcpu or 4xH100,2xA100"
_GROUP = re.compile(r"(\d+)\s*[xX]\s*([A-Za-z][\w.-]*)")


@dataclass(frozen=True, slots=True)
class Group:
    """Devices of one kind."""

    count: int
    kind: str

    def __str__(self) -> str:
        return f"{self.count}x{self.kind}"


def parse(text: str, known: Collection[str]) -> tuple[Group, ...]:
    """The groups that a text names.

    Args:
        text: the user's word.
        known: names of kinds; capital letters don't matter.

    Raises:
        BenchError: where the text has another form, or a count of 0.
        UnknownNameError: where nobody knows a kind.
    """
    names = {name.lower(): name for name in known}
    groups = []
    for part in text.split(","):
        match = _GROUP.fullmatch(part.strip())
        if match is None or int(match[1]) == 0:
            raise BenchError(f"--devices {text}: {part.strip() or 'nothing'!r} isn't devices (accepted: {FORM})")
        kind = match[2].lower()
        if kind not in names:
            near = [names[name] for name in difflib.get_close_matches(kind, names, n=2)]
            raise UnknownNameError("device", match[2], near, sorted(known))
        groups.append(Group(int(match[1]), names[kind]))
    return tuple(groups)
