"""DnCNN against a network written out here, and against the published figure with the authors' weights."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from bench import defenses
from bench.defenses.base import Purifier
from bench.errors import BenchError, ModelError, ModelUnavailable, UnsafeWeights
from bench.suites.spec import DefenseSpec


def dncnn(path: Path) -> Purifier:
    built = defenses.build(DefenseSpec(id=None, name="dncnn", args={"weights": str(path)}))
    assert isinstance(built, Purifier)
    return built


def body(channels: int, depth: int, width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    widths = [channels, *[width] * (depth - 1), channels]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def state(network: nn.Sequential) -> dict[str, Tensor]:
    return {f"model.{name}": tensor for name, tensor in network.state_dict().items()}


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 9, 11, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("channels", "depth"), [(1, 5), (3, 3)])
def test_takes_the_networks_output_off_the_image(tmp_path: Path, x: Tensor, channels: int, depth: int) -> None:
    network = body(channels, depth)
    path = tmp_path / "weights.safetensors"
    save_file(state(network), path)
    with torch.no_grad():
        noise = torch.cat([network(c) for c in x.split(1, 1)], 1) if channels == 1 else network(x)
    purified = dncnn(path).purify(x)
    assert torch.allclose(purified, (x - noise).clamp(0, 1), atol=1e-6)
    assert (purified - x).abs().mean() > 0.01
    assert torch.allclose(dncnn(path).purify(x[1:2])[0], purified[1], atol=1e-6)


def test_the_gradient_is_exact_and_the_weights_have_none(tmp_path: Path, x: Tensor) -> None:
    network = body(3, 3)
    torch.save(state(network), tmp_path / "weights.pt")
    defense = dncnn(tmp_path / "weights.pt")
    point, again = x.clone().requires_grad_(), x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(defense.purify(point).square().sum(), point)
    (expected,) = torch.autograd.grad((again - network(again)).clamp(0, 1).square().sum(), again)
    assert torch.allclose(gradient, expected, atol=1e-5)
    assert gradient.abs().max() > 0.1
    assert not defense.purify(x).requires_grad


def test_its_digest_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(state(body(1, 3)), path)
    assert dncnn(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert defenses.build(DefenseSpec(id=None, name="jpeg", args={})).digest == ""


def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no such file of weights"):
        dncnn(tmp_path / "none.pth")


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save(body(1, 3), tmp_path / "whole.pt")
    with pytest.raises(UnsafeWeights):
        dncnn(tmp_path / "whole.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {name.replace("model", "net"): t for name, t in s.items()}, r"not a DnCNN: .* got net\.0"),
        (lambda s: {name: t for name, t in s.items() if ".2." not in name}, "without a gap"),
        (lambda s: {name: t for name, t in s.items() if name != "model.2.bias"}, r"missing: model\.2\.bias"),
        (lambda s: {**s, "model.1.running_mean": torch.zeros(4)}, r"unexpected: model\.1\.running_mean"),
        (lambda s: {n: t for n, t in s.items() if not n.startswith("model.4.")}, "takes 1 channels and gives 4"),
        (lambda s: {**s, "model.2.weight": torch.zeros(4, 4, 5, 5)}, r"of another shape: model\.2\.weight"),
        (lambda s: {**s, "model.0.weight": torch.zeros(4)}, "not a DnCNN"),
    ],
)
def test_other_weights_are_refused(tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    save_file(change(state(body(1, 3))), tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=message):
        dncnn(tmp_path / "weights.safetensors")


def test_colour_weights_refuse_grey_images(tmp_path: Path) -> None:
    save_file(state(body(3, 3)), tmp_path / "weights.safetensors")
    with pytest.raises(BenchError, match="takes images with 3 channels, got 1"):
        dncnn(tmp_path / "weights.safetensors").purify(torch.zeros(1, 1, 8, 8))


def psnr(one: Tensor, other: Tensor) -> float:
    return float(-10 * (one.double() - other.double()).square().mean().log10())


def denoised(shared: Path, images: range) -> tuple[list[float], list[float]]:
    """PSNR of the first images of Set12 with noise of sigma 25, and after denoising, in dB."""
    folder = shared / "denoise"
    if not folder.is_dir():
        pytest.skip("no denoise/ in the test material")
    defense = dncnn(folder / "kair_dncnn_25.pth")
    before, after = [], []
    for number in images:
        image = np.asarray(Image.open(folder / "Set12" / f"{number:02}.png"), np.float32) / 255
        clean = torch.from_numpy(image)[None, None]
        noisy = clean + 25 / 255 * torch.from_numpy(np.random.default_rng(0).standard_normal(clean.shape)).float()
        before.append(psnr(noisy, clean))
        after.append(psnr(defense.purify(noisy), clean))
    return before, after


def test_the_authors_weights_denoise_the_first_image_of_set12(shared: Path) -> None:
    (before,), (after,) = denoised(shared, range(1, 2))
    assert before == pytest.approx(20.17, abs=0.05)
    assert after == pytest.approx(30.1, abs=0.1)


@pytest.mark.slow
def test_the_authors_weights_denoise_set12(shared: Path) -> None:
    before, after = denoised(shared, range(1, 8))
    assert np.mean(before) == pytest.approx(20.18, abs=0.03)
    assert np.mean(after) == pytest.approx(30.36, abs=0.03)
