"""What the tables of a paper look like: which columns, in which order the rows, and what stands around them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import BenchError, UnknownNameError
from bench.leaderboard.paper.columns import Column

STYLES = {
    "attacks": "a column per attack, rows by worst case",
    "robustbench": "rank, model, clean, AutoAttack, worst case, and what RobustBench publishes",
    "defense": "rows by model and defense; who attacks: oblivious, naive, adaptive",
}


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user asked for.

    Attributes:
        style: a key of :data:`STYLES`.
        columns: names of columns; those of the style where none are given.
        intervals: whether 95 % intervals stand below the numbers.
        caption: LaTeX, in place of ours.
        label: for ``\\ref``, in place of ours.
        page_rows: how many rows stand on a page, in place of as many as fit.
    """

    style: str = "attacks"
    columns: tuple[str, ...] = ()
    intervals: bool = True
    caption: str | None = None
    label: str | None = None
    page_rows: int | None = None

    def check(self) -> None:
        """Refuses what can't work.

        Raises:
            UnknownNameError: for a style that there isn't.
            BenchError: for a caption or a label that would break the document.
        """
        if self.style not in STYLES:
            raise UnknownNameError("style", self.style, difflib.get_close_matches(self.style, STYLES), tuple(STYLES))
        if self.label is not None and not re.fullmatch(r"[A-Za-z0-9:._/+-]+", self.label):
            raise BenchError(f"--label: {self.label!r}: a label is made of letters, digits and : . _ / + -")
        if self.caption is not None:
            problem = _broken(self.caption)
            if problem:
                raise BenchError(f"--caption is LaTeX, as it stands in the document: {problem}")


def _broken(caption: str) -> str:
    """What of a piece of LaTeX would break its table; empty where nothing is seen."""
    bare = re.sub(r"\\.", "", caption, flags=re.S)
    found = re.search(r"[%#&]", bare)
    if found:
        return f"write \\{found[0]} for {found[0]}"
    if caption.endswith("\\") and not caption.endswith("\\\\"):
        return "it ends in a backslash"
    depth = 0
    for char in bare:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            break
    if depth:
        return "its braces don't match"
    if bare.count("$") % 2:
        return "it has an odd number of $"
    return "a caption is one paragraph" if re.search(r"\n\s*\n", caption) else ""


def default(style: str, known: Sequence[Column], *, models: int, defended: bool, attacks: Sequence[str]) -> list[str]:
    """The names of a style's columns, of those that a table has.

    Args:
        style: a key of :data:`STYLES`.
        known: the columns of the table.
        models: how many it has.
        defended: whether a row has a defense.
        attacks: the ids of its attacks.
    """
    names = ["model"] if models > 1 or not defended else []
    names += ["defense"] if defended else []
    if style == "robustbench":
        auto = [attack for attack in attacks if attack.startswith("autoattack")]
        wanted = ["rank", *names, "clean", *auto, "worst-case", "published", "difference", "architecture", "venue"]
    elif style == "defense":
        wanted = [*names, "clean", "oblivious", "naive", "adaptive", "certified", "worst-case"]
    else:
        wanted = [*names, "clean", *attacks, "gradient-free", "naive", "oblivious", "certified", "worst-case"]
    there = {column.name for column in known}
    return [name for name in dict.fromkeys(wanted) if name in there]
