"""The random purifiers: what they do for given draws, and that draws belong to samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import interpolate, pad

from bench import defenses
from bench.defenses.base import RandomPurifier
from bench.models.noise import MOST_DRAWS, Noise
from bench.suites.spec import DefenseSpec

RANDOM = ["random_noise", "random_resize_pad", "pixel_deflection"]


def purifier(name: str, **args: object) -> RandomPurifier:
    built = defenses.build(DefenseSpec(id=None, name=name, args=args))
    assert isinstance(built, RandomPurifier)
    return built


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def noise(*keys: int) -> Noise:
    return Noise(torch.tensor(keys, dtype=torch.int64))


def keyed(count: int, start: int = 1000) -> Noise:
    return Noise(torch.arange(start, start + count))


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 28, 28), (3, 8, 8), (3, 13, 21)])
@pytest.mark.parametrize("name", RANDOM)
def test_draws_belong_to_the_sample(name: str, shape: tuple[int, ...]) -> None:
    x = images(4, *shape)
    before = x.clone()
    defense = purifier(name)
    purified = defense.purified(x, noise(5, 6, 7, 8))
    assert torch.equal(x, before)
    assert (purified.shape, purified.dtype) == (x.shape, torch.float32)
    assert bool(((purified >= 0) & (purified <= 1)).all())
    assert torch.equal(defense.purified(x, noise(5, 6, 7, 8)), purified)
    order = torch.tensor([2, 0])
    assert torch.equal(defense.purified(x[order], noise(7, 5)), purified[order])
    assert torch.equal(defense.purified(x[3:], noise(8)), purified[3:])
    others = defense.purified(x[:1].expand(16, *shape), keyed(16))
    assert len({tuple(one.flatten().tolist()) for one in others}) > 1
    draws = noise(5, 6, 7, 8)
    passes = [defense.purified(x, draws) for _ in range(4)]
    assert any(not torch.equal(one, passes[0]) for one in passes[1:])


@pytest.mark.parametrize("name", RANDOM)
def test_exact_gradients_for_given_draws(name: str) -> None:
    x = images(2, 2, 6, 7).double().mul(0.5).add(0.25).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: purifier(name).purified(z, noise(1, 2)), (x,), eps=1e-5, atol=1e-3)


@pytest.mark.parametrize("name", RANDOM)
def test_no_purifying_without_draws(name: str) -> None:
    with pytest.raises(TypeError, match="needs draws"):
        purifier(name).purify(images(1, 3, 8, 8))


def test_the_noise_is_gaussian() -> None:
    x = torch.full((64, 3, 16, 16), 0.5)
    added = (purifier("random_noise", std=0.05).purified(x, keyed(64)) - 0.5).flatten().numpy()
    assert abs(added.mean()) < 4 * 0.05 / np.sqrt(added.size)
    assert added.std() == pytest.approx(0.05, rel=4 / np.sqrt(2 * added.size))
    assert stats.kstest(added, "norm", args=(0, 0.05)).pvalue > 0.001


def test_the_noise_is_other_in_every_channel_and_pixel() -> None:
    added = purifier("random_noise", std=0.05).purified(torch.full((1, 3, 32, 32), 0.5), noise(3)) - 0.5
    assert added.unique().numel() > 3000
    assert abs(float(torch.corrcoef(added[0].flatten(1))[0, 1])) < 0.15


def test_noise_on_images_with_more_pixels_than_one_call_draws() -> None:
    height = MOST_DRAWS // 1024 + 6
    added = purifier("random_noise", std=0.05).purified(torch.full((1, 1, height, 1024), 0.5), noise(3)) - 0.5
    assert added[0, 0, -1].std() == pytest.approx(0.05, rel=0.1)
    assert not torch.equal(added[0, 0, : height - 1024], added[0, 0, 1024:])


def test_noise_is_clamped() -> None:
    noisy = purifier("random_noise", std=0.2).purified(torch.zeros(1, 1, 32, 32), noise(3))
    assert float((noisy == 0).float().mean()) == pytest.approx(0.5, abs=0.06)
    assert float(noisy.min()) == 0


def _placed(image: Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of what isn't padding."""
    rows, columns = (image[0] > 0).any(1).nonzero().flatten(), (image[0] > 0).any(0).nonzero().flatten()
    return int(rows[0]), int(columns[0]), len(rows), len(columns)


def test_resizing_and_padding_is_bilinear_interpolation_and_zeros() -> None:
    x = images(32, 3, 20, 30).clamp_min(0.1)
    purified = purifier("random_resize_pad", min_scale=0.5).purified(x, keyed(32))
    seen = []
    for image, result in zip(x, purified, strict=True):
        top, left, height, width = _placed(result)
        resized = interpolate(image[None], (height, width), mode="bilinear", align_corners=False)
        expected = pad(resized, (left, 30 - left - width, top, 20 - top - height))[0]
        assert torch.allclose(result, expected, atol=1e-5)
        seen.append((height, width))
        assert abs(height / 20 - width / 30) < 0.06
    assert min(seen)[0] >= 10
    assert len(set(seen)) > 8


def test_sizes_and_places_are_uniform() -> None:
    count = 4000
    purified = purifier("random_resize_pad", min_scale=0.75).purified(torch.ones(count, 1, 8, 8), keyed(count))
    places = [_placed(image) for image in purified]
    heights = np.array([place[2] for place in places])
    assert stats.chisquare(np.bincount(heights, minlength=9)[6:]).pvalue > 0.001
    for axis in (0, 1):
        tops = np.array([place[axis] for place in places])[heights == 6]
        assert stats.chisquare(np.bincount(tops, minlength=3)).pvalue > 0.001


def test_min_scale_of_one_changes_nothing() -> None:
    x = images(4, 3, 16, 16)
    assert torch.allclose(purifier("random_resize_pad", min_scale=1.0).purified(x, keyed(4)), x, atol=1e-5)


def _sources(purified: Tensor, size: int) -> Tensor:
    """Which pixel each one came from, for images that hold the pixels' numbers."""
    return (purified[:, 0] * size * size).round().long()


def test_pixels_are_deflected_inside_their_windows() -> None:
    size, count, window = 16, 500, 3
    numbers = (torch.arange(size * size).view(1, 1, size, size) / (size * size)).expand(count, 2, -1, -1)
    purified = purifier("pixel_deflection", deflections=40, window=window).purified(numbers, keyed(count))
    assert torch.equal(purified[:, 0], purified[:, 1])
    sources = _sources(purified, size)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    down, right = sources // size - rows, sources % size - columns
    assert int(down.abs().max()) == int(right.abs().max()) == window
    moved = (down != 0) | (right != 0)
    assert int(moved.flatten(1).sum(1).max()) <= 40
    # 40 draws with repetition reach 256 * (1 - (1 - 1 / 256) ** 40) pixels; 1 in 49 stays in the middle of its window.
    inner = moved[:, window:-window, window:-window].float().mean()
    assert float(inner) == pytest.approx((1 - (1 - 1 / 256) ** 40) * 48 / 49, rel=0.03)
    inside = down[:, window:-window, window:-window][moved[:, window:-window, window:-window]]
    assert (
        stats.chisquare(np.bincount(inside.numpy() + window), np.array([7, 7, 7, 6, 7, 7, 7]) / 48 * len(inside)).pvalue
        > 0.001
    )


def test_more_deflections_than_pixels() -> None:
    x = images(2, 3, 4, 4)
    purified = purifier("pixel_deflection", deflections=1000, window=20).purified(x, noise(1, 2))
    for image, result in zip(x, purified, strict=True):
        pixels = {tuple(pixel.tolist()) for pixel in image.flatten(1).T}
        assert {tuple(pixel.tolist()) for pixel in result.flatten(1).T} <= pixels
