"""Batches that samples leave."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bench.attacks.batch import Batch, closing

LAYOUTS = {"usual": torch.contiguous_format, "channels last": torch.channels_last}


def images(places: Tensor, add: float = 0.0) -> Tensor:
    """Images that tell whose they are, shape (B, 2, 3, 3)."""
    return places.float().view(-1, 1, 1, 1) + torch.arange(18.0).view(1, 2, 3, 3) / 100 + add


def batch_of(count: int, layout: torch.memory_format) -> Batch:
    places = torch.arange(count)
    batch = Batch(places, places + 1, places + 2, images(places), places % 3, images(places, 0.5))
    batch.state = {"low": images(places, -1), "same": batch.x, "number": places.float()}
    batch.x, batch.x_adv = (values.contiguous(memory_format=layout) for values in (batch.x, batch.x_adv))
    return batch


def check(batch: Batch, left: list[int]) -> None:
    """Every row is of one sample, and all are there that are left."""
    place = batch.place
    assert sorted(place.tolist()) == left
    assert torch.equal(batch.run, place + 1)
    assert torch.equal(batch.iteration, place + 2)
    assert torch.equal(batch.y, place % 3)
    assert torch.equal(batch.x, images(place))
    assert torch.equal(batch.x_adv, images(place, 0.5))
    assert torch.equal(batch.state["low"], images(place, -1))
    assert torch.equal(batch.state["same"], images(place))
    assert torch.equal(batch.state["number"], place.float())


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 12), data=st.data(), layout=st.sampled_from(sorted(LAYOUTS)))
def test_whoever_leaves_the_others_stay_whole(count: int, data: st.DataObject, layout: str) -> None:
    batch = batch_of(count, LAYOUTS[layout])
    for _ in range(4):
        stays = torch.tensor(
            data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))), dtype=torch.bool
        )
        left = sorted(batch.place[stays].tolist())
        batch = batch.closed_up(closing(stays))
        check(batch, left)
        what = data.draw(st.sampled_from(["nothing", "a step", "an alias", "other rows"]))
        if what == "a step":
            batch.x_adv = batch.x_adv.clone()
        elif what == "an alias":
            batch.state["same"] = batch.x.view_as(batch.x)
        elif what == "other rows":
            batch = batch.take(torch.arange(len(left)).flip(0))


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_only_rows_that_move_are_copied(layout: str) -> None:
    batch = batch_of(8, LAYOUTS[layout])
    stays = torch.tensor([True, False, True, True, True, True, True, True])
    first = batch.closed_up(closing(stays))
    assert first.place.tolist() == [0, 7, 2, 3, 4, 5, 6]
    held = first.x
    moved = torch.zeros_like(first.x_adv)
    first.x_adv = moved
    second = first.closed_up(closing(first.place != 2))
    assert second.place.tolist() == [0, 7, 6, 3, 4, 5]
    assert second.x.data_ptr() == held.data_ptr()
    assert second.x_adv.data_ptr() != moved.data_ptr()
    assert torch.equal(second.x, images(second.place))
    assert second.x.is_contiguous(memory_format=LAYOUTS[layout])


def test_memory_is_given_back_when_half_of_it_is_empty() -> None:
    batch = batch_of(8, torch.contiguous_format).closed_up(torch.arange(8))
    few = batch.closed_up(closing(batch.place >= 5))
    assert torch.equal(few.x, images(few.place))
    assert few.x.untyped_storage().nbytes() == 3 * few.x[0].nbytes


def test_the_last_rows_close_the_gaps() -> None:
    def rows(*stays: int) -> list[int]:
        return closing(torch.tensor(stays, dtype=torch.bool)).tolist()

    assert rows(1, 1, 1) == [0, 1, 2]
    assert rows(0, 1, 0, 1, 1) == [3, 1, 4]
    assert rows(0, 0, 1) == [2]
    assert rows(1, 0, 0) == [0]
    assert rows(0, 0) == rows() == []
