from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.training.augment import augment as changed
from bench.training.augment import draw
from bench.training.parameters import Augmentation
from bench.training.seeds import Seeds


def generator(seed: int = 0) -> torch.Generator:
    return Seeds(seed).generator("augment")


def augment(x: torch.Tensor, said: Augmentation, generator: torch.Generator) -> torch.Tensor:
    return changed(x, said, draw(said, len(x), generator))


def images(count: int = 16, channels: int = 1, height: int = 9, width: int = 9) -> torch.Tensor:
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(5))


def test_nothing_asked_changes_nothing() -> None:
    assert torch.equal(augment(images(), Augmentation(), generator()), images())


def test_a_shift_moves_whole_pixels_and_brings_in_black() -> None:
    x = torch.zeros(200, 2, 7, 7)
    x[:, 0, 3, 3], x[:, 1, 3, 3] = 1.0, 0.5
    moved = augment(x, Augmentation(shift=2), generator())
    assert torch.equal(moved[:, 0] * 0.5, moved[:, 1])
    assert torch.equal(moved.sum((1, 2, 3)), torch.full((200,), 1.5))
    places = {tuple(place) for place in moved[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(row, column) for row in range(1, 6) for column in range(1, 6)}


def test_half_of_the_images_are_mirrored() -> None:
    x = images(1000)
    mirrored = augment(x, Augmentation(hflip=True), generator())
    same = (mirrored == x).flatten(1).all(1)
    flipped = (mirrored == x.flip(3)).flatten(1).all(1)
    assert (same ^ flipped).all()
    assert 430 < int(flipped.sum()) < 570


@pytest.mark.parametrize(("height", "width"), [(41, 41), (41, 61)])
def test_a_rotation_keeps_the_distance_from_the_centre(height: int, width: int) -> None:
    x = torch.zeros(50, 1, height, width)
    x[:, :, height // 2 + 12, width // 2] = 1.0
    turned = augment(x, Augmentation(rotation=90), generator())
    rows, columns = torch.meshgrid(torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij")
    mass = turned[:, 0] / turned.sum((1, 2, 3)).view(-1, 1, 1)
    row, column = (mass * rows).sum((1, 2)), (mass * columns).sum((1, 2))
    assert torch.allclose(torch.hypot(row, column), torch.tensor(12.0), atol=0.6)
    angles = torch.atan2(column, row)
    assert angles.abs().max() <= math.pi / 2 + 0.05
    assert angles.min() < -1
    assert angles.max() > 1


def test_cutout_paints_one_square_black_wherever_its_centre_is() -> None:
    cut = augment(torch.ones(400, 3, 8, 8), Augmentation(cutout=4), generator())
    black = (cut == 0).all(1).flatten(1).sum(1)
    assert torch.equal(cut[:, 0], cut[:, 2])
    assert set(black.tolist()) <= {height * width for height in (2, 3, 4) for width in (2, 3, 4)}
    assert (black == 16).any()
    assert (cut == 0).any(0).all()


def test_a_part_of_a_batch_is_changed_as_in_the_whole() -> None:
    said, x = Augmentation(shift=1, hflip=True, cutout=3), images(12, channels=3)
    numbers = draw(said, 12, generator())
    assert torch.equal(changed(x[4:9], said, numbers[:, 4:9]), changed(x, said, numbers)[4:9])


@given(
    shift=st.integers(0, 4),
    rotation=st.floats(0, 180),
    scale=st.floats(0, 0.5),
    hflip=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_images_stay_images_and_draws_repeat(shift: int, rotation: float, scale: float, hflip: bool, seed: int) -> None:
    said = Augmentation(shift=shift, rotation=rotation, scale=scale, hflip=hflip)
    x = images(4, channels=3, height=6, width=8)
    once = augment(x, said, generator(seed))
    assert once.shape == x.shape
    assert once.min() >= 0
    assert once.max() <= 1
    assert torch.equal(once, augment(x, said, generator(seed)))
