"""Labels keep clear of each other and of the points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plots import labels, saving
from bench.plots.panels import shape, wrapped


@pytest.mark.parametrize("seed", range(5))
def test_labels_cover_neither_each_other_nor_the_points(seed: int) -> None:
    source = np.random.default_rng(seed)
    places = source.uniform(20, 80, (25, 2))
    with saving.style():
        figure = saving.new_figure(5, 4)
        axis = figure.subplots()
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 100)
        axis.plot(*places.T, "o", markersize=5)
        saving.freeze(figure)
        labels.place(axis, [labels.Labelled(x, y, f"m{i}") for i, (x, y) in enumerate(places)])
        named = [text for text in axis.texts if text.get_text()]
        boxes = [text.get_window_extent() for text in named]
        inside = axis.get_window_extent()
    assert [text.get_text() for text in sorted(named, key=lambda text: int(text.get_text()[1:]))] == [
        f"m{i}" for i in range(25)
    ]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    pixels = axis.transData.transform(places)
    for box in boxes:
        assert not any(box.contains(x, y) for x, y in pixels)
        assert inside.x0 <= box.x0
        assert box.x1 <= inside.x1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(0.5, 10))
def test_spread_keeps_the_gap_the_order_and_the_centre(values: list[float], gap: float) -> None:
    got = labels.spread(values, gap)
    order = sorted(range(len(values)), key=lambda index: values[index])
    steps = [got[b] - got[a] for a, b in itertools.pairwise(order)]
    assert all(step >= gap - 1e-6 for step in steps)
    assert np.mean(got) == pytest.approx(np.mean(values), abs=1e-6)


def test_spread_leaves_alone_what_is_far_apart() -> None:
    assert labels.spread([90, 10, 50], 5) == [90, 10, 50]
    assert labels.spread([10, 10], 4) == [8, 12]


@given(st.text("abc-_. =+", min_size=1, max_size=120), st.integers(8, 40))
def test_wrapping_cuts_nothing(name: str, width: int) -> None:
    shown = wrapped(name, width)
    assert "".join(shown.split()) == "".join(name.split())
    assert max(map(len, shown.split("\n"))) <= width + 3


@pytest.mark.parametrize(
    ("panels", "expected"), [(1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (9, (3, 3))]
)
def test_panels_fill_a_grid(panels: int, expected: tuple[int, int]) -> None:
    assert shape(panels) == expected
