"""The deterministic purifiers against their libraries' own results, and what BPDA's stand-ins are worth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pydantic import ValidationError
from scipy import ndimage
from skimage import restoration
from torch import Tensor, nn

from bench import defenses
from bench.defenses.base import Purifier
from bench.defenses.defended import DefendedModel
from bench.models.wrapper import CountedModel
from bench.registry import defenses as registry
from bench.runner.provenance import version
from bench.suites.spec import DefenseSpec

Array = npt.NDArray[np.float64]
DETERMINISTIC = [
    "median_blur",
    "bilateral_blur",
    "total_variation",
    "non_local_means",
    "wavelet",
    "jpeg",
    "gradient_killer",
]
SHAPES = [(3, 3, 16, 16), (2, 1, 28, 28), (2, 3, 8, 8), (1, 3, 13, 21)]


def purifier(name: str, **args: object) -> Purifier:
    built = defenses.build(DefenseSpec(id=None, name=name, args=args))
    assert isinstance(built, Purifier)
    return built


def smooth(*shape: int, noise: float = 0.03) -> Tensor:
    """Blobs with a little noise on them: images that filters and codecs are made for."""
    generator = np.random.default_rng(0)
    blobs = ndimage.gaussian_filter(generator.random(shape), (0, 0, 3, 3), mode="wrap")
    low, high = blobs.min((1, 2, 3), keepdims=True), blobs.max((1, 2, 3), keepdims=True)
    blobs = 0.1 + 0.8 * (blobs - low) / (high - low)
    return torch.from_numpy((blobs + noise * generator.standard_normal(shape)).clip(0, 1)).float()


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_median_blur_is_a_median_filter(kernel_size: int) -> None:
    x = smooth(2, 3, 11, 14)
    expected = ndimage.median_filter(x.numpy(), (1, 1, kernel_size, kernel_size), mode="mirror")
    blur = purifier("median_blur", kernel_size=kernel_size)
    assert np.array_equal(blur.purify(x).numpy(), expected)
    assert np.array_equal(blur.purify(x.requires_grad_()).detach().numpy(), expected)


def test_the_gradient_of_a_median_goes_to_the_pixel_that_is_the_median() -> None:
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    blurred = purifier("median_blur").purify(x)
    (gradient,) = torch.autograd.grad(blurred[0, 0, 4, 4], x)
    chosen = x[0, 0] == blurred[0, 0, 4, 4]
    assert chosen.sum() == 1
    assert torch.equal(gradient[0, 0], chosen.float())


def test_bilateral_blur_weighs_by_place_and_colour() -> None:
    x = smooth(1, 3, 9, 10)
    image = x[0].double().numpy()
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="reflect")
    near = np.exp(-0.5 * (np.arange(-2, 3) / 1.2) ** 2)
    expected = np.empty_like(image)
    for row in range(9):
        for column in range(10):
            window = padded[:, row : row + 5, column : column + 5]
            colour = np.abs(window - image[:, row : row + 1, column : column + 1]).sum(0)
            weights = np.outer(near, near) * np.exp(-0.5 * (colour / 0.2) ** 2)
            expected[:, row, column] = (weights * window).sum((1, 2)) / weights.sum()
    blurred = purifier("bilateral_blur", kernel_size=5, sigma_color=0.2, sigma_space=1.2).purify(x)
    assert np.allclose(blurred[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["median_blur", "bilateral_blur"])
def test_exact_gradients(name: str) -> None:
    x = torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    assert torch.autograd.gradcheck(purifier(name).purify, (x,), fast_mode=True)


@pytest.mark.parametrize("name", ["median_blur", "bilateral_blur", "gaussian_blur"])
def test_even_windows_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="kernel_size must be odd, got 4"):
        purifier(name, kernel_size=4)


def _variation(image: Array, weight: float) -> Array:
    return np.stack([restoration.denoise_tv_chambolle(channel, weight) for channel in image])


def _means(image: Array, **args: float) -> Array:
    return np.moveaxis(restoration.denoise_nl_means(np.moveaxis(image, 0, -1), channel_axis=-1, **args), -1, 0)


def _wavelet(image: Array, **args: object) -> Array:
    return np.stack([restoration.denoise_wavelet(channel, **args) for channel in image])


@pytest.mark.parametrize(
    ("name", "args", "library"),
    [
        ("total_variation", {"weight": 0.03}, _variation),
        ("total_variation", {"weight": 0.3}, _variation),
        ("non_local_means", {"patch_size": 3, "patch_distance": 5, "h": 0.05}, _means),
        ("non_local_means", {"patch_size": 5, "patch_distance": 3, "h": 0.1, "sigma": 0.03}, _means),
        ("wavelet", {"wavelet": "db2"}, _wavelet),
        ("wavelet", {"mode": "hard", "sigma": 0.1}, _wavelet),
    ],
)
def test_scikit_image_filters(name: str, args: dict[str, object], library: Callable[..., Array]) -> None:
    x = smooth(3, 3, 16, 18)
    purified = purifier(name, **args).purify(x).numpy()
    for image, result in zip(x.double().numpy(), purified, strict=True):
        expected = library(image, **args)
        assert np.abs(expected - image).max() > 0.01
        assert np.allclose(result, expected.clip(0, 1), atol=1e-6)


def test_levels_of_the_wavelet_decomposition() -> None:
    x = smooth(1, 1, 16, 16)
    expected = restoration.denoise_wavelet(x[0, 0].double().numpy(), wavelet="db1", wavelet_levels=3)
    assert np.allclose(purifier("wavelet", levels=3).purify(x)[0, 0].numpy(), expected.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize("args", [{}, {"sigma": 0.0}, {"mode": "hard"}])
def test_a_wavelet_takes_nothing_off_an_image_without_detail(args: dict[str, object]) -> None:
    x = torch.full((2, 3, 8, 8), 0.25)
    x[1] = 0
    assert torch.allclose(purifier("wavelet", **args).purify(x), x, atol=1e-7)


def test_a_wavelet_that_knows_of_no_noise_changes_nothing() -> None:
    x = smooth(2, 3, 16, 16)
    assert torch.allclose(purifier("wavelet", sigma=0.0).purify(x), x, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "args", "error"),
    [
        ("total_variation", {"weight": 0.03}, 1e-4),
        ("total_variation", {"weight": 0.3}, 1e-4),
        ("non_local_means", {}, 0.02),
        ("non_local_means", {"patch_size": 5, "patch_distance": 3, "h": 0.1, "sigma": 0.03}, 0.02),
        ("wavelet", {}, 1e-4),
        ("wavelet", {"wavelet": "db2", "levels": 2}, 1e-4),
        ("wavelet", {"wavelet": "sym3", "mode": "hard", "sigma": 0.1}, 1e-4),
        ("jpeg", {"quality": 90}, 0.7),
        ("jpeg", {"quality": 30}, 0.5),
    ],
)
def test_surrogates_do_what_the_defense_does(name: str, args: dict[str, object], error: float, channels: int) -> None:
    """The error relative to what the defense changes; that of the identity is 1."""
    x = smooth(4, channels, 24, 21)
    real = purifier(name, **args)
    purified, stand_in = real.purify(x), real.surrogate(x)
    assert stand_in.shape == x.shape
    assert (stand_in - purified).norm() < error * (purified - x).norm()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [10, 50, 95])
def test_the_differentiable_jpeg_is_near_the_real_one(channels: int, quality: int) -> None:
    x = smooth(4, channels, 32, 27, noise=0)
    codec = purifier("jpeg", quality=quality)
    assert (codec.surrogate(x) - codec.purify(x)).abs().mean() < 0.015
    if channels == 1:
        coloured = codec.surrogate(x.expand(-1, 3, -1, -1))
        assert torch.allclose(codec.surrogate(x), coloured.mean(1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("name", ["total_variation", "non_local_means"])
def test_gradients_of_the_surrogates(name: str) -> None:
    x = smooth(1, 2, 7, 9, noise=0.1).double().requires_grad_()
    assert torch.autograd.gradcheck(purifier(name).surrogate, (x,), fast_mode=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_gradients_are_finite_on_flat_images_too(name: str, shape: tuple[int, ...]) -> None:
    defense = purifier(name)
    through = defense.purify if defense.differentiable else defense.surrogate
    for x in (torch.zeros(shape), torch.ones(shape), smooth(*shape)):
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(through(x).sum(), x)
        assert bool(gradient.isfinite().all())
    assert gradient.abs().max() > 0.1


@pytest.mark.parametrize(
    ("name", "args"), [("jpeg", {"quality": 50}), ("total_variation", {}), ("non_local_means", {}), ("wavelet", {})]
)
def test_a_step_along_the_surrogate_moves_the_real_output_further_than_one_along_the_identity(
    name: str, args: dict[str, object]
) -> None:
    x, direction = smooth(4, 3, 24, 24), torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    real = purifier(name, **args)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((real.surrogate(point) * direction).sum(), point)

    def gain(step: Tensor) -> Tensor:
        return (direction * (real.purify((x + 8 / 255 * step.sign()).clamp(0, 1)) - real.purify(x))).sum((1, 2, 3))

    assert bool((gain(gradient) > 1.1 * gain(direction)).all())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_same_alone_and_in_a_batch(name: str, shape: tuple[int, ...]) -> None:
    x = smooth(*shape)
    before = x.clone()
    defense = purifier(name)
    purified = defense.purify(x)
    assert torch.equal(x, before)
    assert (purified.shape, purified.dtype) == (x.shape, torch.float32)
    assert bool(((purified >= 0) & (purified <= 1)).all())
    for index in range(len(x)):
        assert torch.allclose(defense.purify(x[index : index + 1])[0], purified[index], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["total_variation", "non_local_means", "wavelet", "jpeg"])
def test_surrogates_are_the_same_alone_and_in_a_batch(name: str) -> None:
    x = torch.cat([smooth(2, 3, 16, 16), torch.zeros(1, 3, 16, 16)])
    together = purifier(name).surrogate(x)
    for index in range(len(x)):
        assert torch.allclose(purifier(name).surrogate(x[index : index + 1])[0], together[index], atol=1e-5, rtol=0)


class Sum(nn.Module):
    """Logits whose gradient is known: 2 and -1 in every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1)
        return torch.stack([2 * total, -total], dim=1)


def test_the_gradient_killer_kills_the_gradient_and_nothing_else() -> None:
    x = smooth(2, 3, 8, 8).requires_grad_()
    killer = purifier("gradient_killer")
    purified = killer.purify(x)
    assert torch.equal(purified, x)
    assert not purified.requires_grad
    purified += 1
    assert float(x.detach().max()) <= 1

    adaptive = DefendedModel(CountedModel(Sum(), num_classes=2), killer).seen_by("adaptive")
    (gradient,) = torch.autograd.grad(adaptive(x)[:, 0].sum(), x)
    assert torch.equal(gradient, torch.full_like(x, 2.0))
    naive = DefendedModel(CountedModel(Sum(), num_classes=2), killer).seen_by("naive")
    (gradient,) = torch.autograd.grad(naive(x)[:, 0].sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))


@pytest.mark.parametrize("name", [*DETERMINISTIC, "dncnn", "random_noise", "random_resize_pad", "pixel_deflection"])
def test_the_table_says_what_the_defense_declares(name: str) -> None:
    entry, defense = registry.entry(name), registry.load(name)
    declared = {fact: getattr(defense, fact) for fact in ("differentiable", "stochastic", "rejects")}
    files = {"files": ("weights",)} if name == "dncnn" else {}
    assert dict(entry.facts) == {"kind": "purifier", **declared, **files}
    assert "missing" not in [version(library) for library in defense.library]
