"""Tables longer than a page: where they are cut into parts, each a float of its own.

A float can't break, and ``longtable``, which can, doesn't work in two columns. What a part's rows and notes take is
estimated from their texts, in points at the document's size 10, so that it fits the text of article and of the usual templates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

PAGE = 530.0
"""pt that a float may take; article's text is 550 high, those of NeurIPS, ICML and CVPR 640 to 650."""
LINE = 9.5
"""Between two lines of \\footnotesize."""
_SHARE = {"table": 50, "table*": 90}
"""Letters of a note that fill a line, in a column or across both; those of a caption, which are larger, are fewer."""
_CAPTION = 0.85
_STEP = 5.0


class Block(NamedTuple):
    """A row."""

    height: float
    """pt, with the gap above it"""
    notes: frozenset[int]
    """numbers of the notes that it is marked with"""


def letters(text: str) -> int:
    """About how many letters LaTeX prints of a text."""
    bare = re.sub(r"~?\\cite\{([^}]*)\}", lambda keys: " [12]" * (1 + keys[1].count(",")), text)
    return len(re.sub(r"\\[A-Za-z]+|[\\{}$]", "", bare))


def written(text: str, environment: str) -> float:
    """What a note takes, in pt."""
    return LINE * math.ceil((letters(text) + 4) / _SHARE[environment]) + 3


def captioned(text: str, environment: str) -> float:
    """What a caption and the table's rules and heads take, in pt."""
    return 12 * math.ceil((letters(text) + 10) / (_CAPTION * _SHARE[environment])) + 4 * LINE


def parts(
    blocks: Sequence[Block], notes: Mapping[int, float], first: float, later: float, *, most: int | None = None
) -> list[range]:
    """The rows of each part, as even as a page allows.

    Args:
        blocks: the rows.
        notes: what each note takes, in pt; a part repeats those of its rows.
        first: what stands around the rows of the first part, in pt.
        later: and around those of the others.
        most: rows that a part may have, in place of what fits a page.
    """
    if most is not None:
        count = math.ceil(len(blocks) / most)
        edges = [round(len(blocks) * place / count) for place in range(count + 1)]
        return [range(*edge) for edge in pairwise(edges)]
    found, page = _filled(blocks, notes, first, later, PAGE), PAGE
    while len(found) > 1 and page > _STEP:
        page -= _STEP
        evener = _filled(blocks, notes, first, later, page)
        if len(evener) > len(found):
            break
        found = evener
    return found


def _filled(
    blocks: Sequence[Block], notes: Mapping[int, float], first: float, later: float, page: float
) -> list[range]:
    found, start, height, told = [], 0, first, frozenset[int]()
    for place, block in enumerate(blocks):
        more = block.height + sum(notes[number] for number in block.notes - told)
        if place > start and height + more > page:
            found.append(range(start, place))
            start, height, told = place, later, frozenset()
            more = block.height + sum(notes[number] for number in block.notes)
        height += more
        told |= block.notes
    return [*found, range(start, len(blocks))]
