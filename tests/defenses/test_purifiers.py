"""The purifiers against independent computations, and the gradient that an adaptive adversary gets."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from bench import defenses
from bench.defenses.base import Purifier
from bench.defenses.defended import DefendedModel
from bench.errors import BenchError
from bench.models.wrapper import CountedModel
from bench.suites.spec import DefenseSpec


def purifier(name: str, **args: object) -> Purifier:
    built = defenses.build(DefenseSpec(id=None, name=name, args=args))
    assert isinstance(built, Purifier)
    return built


@pytest.fixture
def x() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bits", [1, 3, 7])
def test_bit_depth_rounds_to_its_levels(x: Tensor, bits: int) -> None:
    rounded = purifier("bit_depth", bits=bits).purify(x)
    levels = 2**bits - 1
    assert np.allclose(rounded.numpy(), np.round(x.numpy() * levels) / levels)
    assert len(torch.unique(rounded)) <= 2**bits


def test_gaussian_blur_is_a_gaussian_convolution(x: Tensor) -> None:
    blurred = purifier("gaussian_blur", kernel_size=5, sigma=0.8).purify(x).numpy()
    taps = np.exp(-0.5 * (np.arange(-2, 3) / 0.8) ** 2)
    taps /= taps.sum()
    expected = ndimage.convolve1d(x.numpy().astype(np.float64), taps, axis=2, mode="mirror")
    expected = ndimage.convolve1d(expected, taps, axis=3, mode="mirror")
    assert np.allclose(blurred, expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows_codec(x: Tensor, channels: int) -> None:
    images = x[:, :channels]
    decoded = purifier("jpeg", quality=50).purify(images)
    pixels = (images[2].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze() if channels == 1 else pixels).save(buffer, "JPEG", quality=50)
    expected = np.asarray(Image.open(buffer), dtype=np.float32).reshape(16, 16, channels) / 255
    assert np.allclose(decoded[2].permute(1, 2, 0).numpy(), expected)


def test_jpeg_refuses_other_channels() -> None:
    with pytest.raises(BenchError, match="1 or 3 channels, got 2"):
        purifier("jpeg").purify(torch.zeros(1, 2, 8, 8))


class Sum(nn.Module):
    """Logits whose gradient is known: 2 and -1 in every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1)
        return torch.stack([2 * total, -total], dim=1)


@pytest.mark.parametrize(("name", "args"), [("bit_depth", {"bits": 2}), ("gradient_killer", {})])
def test_bpda_forward_is_the_real_defense_and_backward_the_identity(x: Tensor, name: str, args: dict[str, int]) -> None:
    bare = CountedModel(Sum(), num_classes=2)
    real = purifier(name, **args)
    defended = DefendedModel(bare, real)
    point = x.clone().requires_grad_()
    logits = defended(point)
    with torch.no_grad():
        assert torch.equal(logits, bare(real.purify(x)))
        assert torch.equal(defended(x), logits)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), point)
    assert torch.equal(gradient, torch.full_like(x, 2.0))


def test_a_differentiable_defense_gives_its_exact_gradient(x: Tensor) -> None:
    blur = purifier("gaussian_blur", kernel_size=3, sigma=1.0)
    defended = DefendedModel(CountedModel(nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), num_classes=2).double(), blur)
    point = x[:1].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: defended(z).double(), (point,), eps=1e-4, atol=1e-3)


def test_bpda_takes_the_surrogates_gradient(x: Tensor) -> None:
    class Steps(Purifier):
        differentiable = False

        def purify(self, x: Tensor) -> Tensor:
            return (x * 4).round() / 4

        def surrogate(self, x: Tensor) -> Tensor:
            return 3 * x

    defended = DefendedModel(CountedModel(Sum(), num_classes=2), Steps(None))
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(defended(point)[:, 0].sum(), point)
    assert torch.allclose(gradient, torch.full_like(x, 6.0))


def test_passes_are_counted_through_the_defense(x: Tensor) -> None:
    defended = DefendedModel(CountedModel(Sum(), num_classes=2), purifier("bit_depth"))
    point = x.clone().requires_grad_()
    torch.autograd.grad(defended(point).sum(), point)
    assert (defended.passes.forward, defended.passes.backward) == (4, 4)


def test_a_purifier_that_changes_the_shape_is_refused(x: Tensor) -> None:
    class Crop(Purifier):
        differentiable = True

        def purify(self, x: Tensor) -> Tensor:
            return x[:, :, 1:, 1:]

    with pytest.raises(BenchError, match="keeps the shape"):
        DefendedModel(CountedModel(Sum(), num_classes=2), Crop(None))(x)
