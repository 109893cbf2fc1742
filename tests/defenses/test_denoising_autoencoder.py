"""The denoising autoencoder as a purifier: what it makes of digits, its gradient, the weights that it refuses."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from bench import datasets, defenses, models
from bench.defenses.denoising_autoencoder import DenoisingAutoencoder
from bench.errors import ModelError, ModelUnavailable
from bench.models.architectures.denoising_autoencoder import denoising_autoencoder
from bench.models.base import Setting
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec, DefenseSpec, ModelSpec


def purifier(**args: object) -> DenoisingAutoencoder:
    built = defenses.build(DefenseSpec(id=None, name="denoising_autoencoder", args=args))
    assert isinstance(built, DenoisingAutoencoder)
    return built


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    x, y = datasets.load(DatasetSpec(name="mnist"), Places()).batch(range(200))
    return x, y


def saved(path: Path, network: nn.Module) -> str:
    safetensors.torch.save_file(network.state_dict(), path)
    return str(path)


def test_it_takes_noise_off_held_out_digits_and_leaves_them_readable(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    noisy = (x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    pure = purifier()

    def decibels(images: Tensor) -> float:
        return float((-10 * (images - x).square().flatten(1).mean(1).log10()).mean())

    assert decibels(pure.purify(noisy)) > decibels(noisy) + 7
    spec = ModelSpec(id="m", source="zoo", name="mnist_standard")
    model = models.load(spec, Setting("mnist", "linf", 10, (1, 28, 28)), Places(), device="cpu")
    with torch.no_grad():
        assert float((model(pure.purify(x)).argmax(1) == y).float().mean()) > 0.95


def test_its_gradient_is_the_exact_one(digits: tuple[Tensor, Tensor]) -> None:
    pure = purifier()
    x = digits[0][:1].clamp(0.05, 0.95)
    weights, direction = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(0)).unbind(0)
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((weights * pure.purify(point)).sum(), point)
    precise = copy.deepcopy(pure._network).double()  # in float32 the differences drown in rounding

    def value(step: float) -> float:
        return float((weights * precise((x + step * direction).double())).sum())

    for scale in (1e-3, 1e-4):
        difference = (value(scale) - value(-scale)) / (2 * scale)
        assert float((gradient * direction).sum()) == pytest.approx(difference, rel=1e-2)
    assert (gradient != 0).float().mean() > 0.99


def test_the_gradient_reaches_black_and_white_pixels(digits: tuple[Tensor, Tensor]) -> None:
    point = digits[0][:4].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(purifier().purify(point).sum(), point)
    assert (gradient != 0).float().mean() > 0.99


def test_a_file_s_sizes_are_read_off_its_weights(tmp_path: Path) -> None:
    network = denoising_autoencoder(in_channels=3, width=4, depth=1).eval()
    x = torch.rand(2, 3, 9, 11)
    with torch.no_grad():
        expected = network(x)
    path = saved(tmp_path / "a.safetensors", network)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "a.pt")
    for said in (path, str(tmp_path / "a.pt")):
        assert torch.equal(purifier(weights=said).purify(x), expected)
    half = purifier(weights=path).purify(x.bfloat16())
    assert half.dtype == torch.bfloat16


def test_the_digest_tells_weights_apart_and_not_paths(tmp_path: Path) -> None:
    network = denoising_autoencoder(width=2, depth=1)
    first = purifier(weights=saved(tmp_path / "a.safetensors", network)).digest
    assert first == purifier(weights=saved(tmp_path / "b.safetensors", network)).digest
    with torch.no_grad():
        network.outward.bias.add_(1e-3)  # type: ignore[union-attr]
    assert len({first, purifier().digest, purifier(weights=saved(tmp_path / "a2.safetensors", network)).digest}) == 3
    assert len(first) == 64


def test_other_channels_are_refused() -> None:
    with pytest.raises(ModelError, match=r"zoo:mnist_denoiser is for images of 1 channels, these have 3"):
        purifier().purify(torch.rand(1, 3, 28, 28))


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no such file of weights"):
        purifier(weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(
        ModelError, match=r"zoo:mnist_pgd gives logits, not images \(accepted: zoo:mnist_denoiser, or a"
    ):
        purifier(weights="zoo:mnist_pgd")
    with pytest.raises(ModelError, match="zoo:denoiser isn't there"):
        purifier(weights="zoo:denoiser")
    linear = saved(tmp_path / "l.safetensors", nn.Linear(2, 2))
    with pytest.raises(
        ModelError, match=r"don't fit the architecture: missing: inward.weight.*unexpected: (weight|bias)"
    ):
        purifier(weights=linear)
    network = denoising_autoencoder(width=2, depth=2)
    state = {name: tensor for name, tensor in network.state_dict().items() if name != "up.0.bias"}
    safetensors.torch.save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"missing: up\.0\.bias"):
        purifier(weights=str(tmp_path / "m.safetensors"))
    torch.save(network, tmp_path / "whole.pt")
    with pytest.raises(ModelError, match="not only tensors, and a defense's weights are never unpickled"):
        purifier(weights=str(tmp_path / "whole.pt"))
