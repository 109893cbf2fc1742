"""Where long tables are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.leaderboard.paper.pages import PAGE, Block, letters, parts

NOTES = {number: 12.5 * number for number in range(6)}
BLOCKS = st.lists(
    st.builds(Block, st.floats(10, 60), st.frozensets(st.sampled_from(sorted(NOTES)), max_size=3)), max_size=80
)


def height(blocks: list[Block], part: range, first: float, later: float) -> float:
    own = [blocks[place] for place in part]
    told = frozenset[int]().union(*(block.notes for block in own))
    return (later if part.start else first) + sum(block.height for block in own) + sum(NOTES[one] for one in told)


@given(BLOCKS, st.floats(0, 300), st.floats(0, 100))
def test_every_row_stands_on_one_page_that_holds_it(blocks: list[Block], first: float, later: float) -> None:
    found = parts(blocks, NOTES, first, later)
    assert [place for part in found for place in part] == list(range(len(blocks)))
    assert all(len(part) == 1 or height(blocks, part, first, later) <= PAGE for part in found if blocks)
    whole = range(len(blocks))
    assert (len(found) == 1) == (len(blocks) < 2 or height(blocks, whole, first, later) <= PAGE)


def test_no_more_parts_than_needed_and_even_ones() -> None:
    blocks = [Block(20.0, frozenset())] * 30
    assert [len(part) for part in parts(blocks, {}, 30.0, 30.0)] == [15, 15]
    assert [len(part) for part in parts(blocks, {}, 230.0, 30.0)] == [10, 20]


def test_a_note_counts_once_on_a_page() -> None:
    shared = [Block(20.0, frozenset({1}))] * 25
    assert len(parts(shared, {1: 30.0}, 0.0, 0.0)) == 1
    own = [Block(20.0, frozenset({place})) for place in range(25)]
    assert len(parts(own, dict.fromkeys(range(25), 30.0), 0.0, 0.0)) == 3


def test_a_chosen_number_of_rows() -> None:
    blocks = [Block(20.0, frozenset())] * 9
    assert [len(part) for part in parts(blocks, {}, 0.0, 0.0, most=4)] == [3, 3, 3]
    assert [len(part) for part in parts(blocks, {}, 0.0, 0.0, most=20)] == [9]


def test_letters_are_those_printed() -> None:
    assert letters(r"JPEG \_x~\cite{a,b}") == len("JPEG _x [12] [12]")
    assert letters(r"$\varepsilon = 8/255$") == len(" = 8/255")
