"""Measures of images against scikit-image, and what happens without their libraries."""

from __future__ import annotations

import hashlib
import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from skimage import metrics as reference
from torch import Tensor

from bench import _imports
from bench.runner import image_quality as module
from bench.runner.image_quality import image_quality

LPIPS = importlib.util.find_spec("lpips") is not None


@pytest.fixture(autouse=True)
def _no_network_kept() -> Iterator[None]:
    module._network.cache_clear()
    yield
    module._network.cache_clear()


def pair(*shape: int, noise: float = 0.05, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Smooth images and the same with noise, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((*shape[:2], 4, 4), generator=generator)
    x = torch.nn.functional.interpolate(coarse, size=shape[2:], mode="bilinear")
    return x, (x + noise * torch.randn(shape, generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (2, 1, 28, 28), (2, 3, 11, 11), (40, 3, 12, 19)])
def test_the_same_as_scikit_image(shape: tuple[int, ...]) -> None:
    x, other = pair(*shape)
    got = image_quality(x, other)
    for i, (a, b) in enumerate(zip(x.double().numpy(), other.double().numpy(), strict=True)):
        assert got.psnr[i].item() == pytest.approx(reference.peak_signal_noise_ratio(a, b, data_range=1), abs=1e-9)
        ssim = reference.structural_similarity(
            a, b, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert got.ssim[i].item() == pytest.approx(ssim, abs=1e-9)
    swapped = image_quality(other, x)
    assert torch.equal(swapped.psnr, got.psnr)
    assert torch.allclose(swapped.ssim, got.ssim, rtol=0, atol=1e-12)


def test_differences_that_float32_would_lose() -> None:
    x = torch.full((1, 1, 16, 16), 0.9)
    other = x.clone()
    other[..., ::2] += 2**-12
    got = image_quality(x, other)
    a, b = x[0, 0].double().numpy(), other[0, 0].double().numpy()
    assert got.ssim.item() == pytest.approx(
        reference.structural_similarity(
            a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        ),
        abs=1e-12,
    )
    assert got.psnr.item() == pytest.approx(reference.peak_signal_noise_ratio(a, b, data_range=1), abs=1e-9)


def test_numbers_worked_out_by_hand() -> None:
    x = torch.zeros(3, 3, 16, 16)
    other = torch.stack([x[0] + 0.1, x[0], x[0] + 1])
    got = image_quality(x, other)
    assert got.psnr[[0, 2]].tolist() == pytest.approx([20, 0], abs=1e-6)
    assert got.psnr[1].isnan()  # equal
    # flat images: the covariances vanish, and C1 / (mu^2 + C1) is left
    assert got.ssim.tolist() == pytest.approx([1e-4 / (0.01 + 1e-4), 1, 1e-4 / (1 + 1e-4)], abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 10, 32), (2, 1, 32, 10)])
def test_images_below_the_window_have_no_ssim(shape: tuple[int, ...]) -> None:
    got = image_quality(*pair(*shape))
    assert got.ssim.isnan().all()
    assert got.psnr.isfinite().all()


def test_no_images() -> None:
    assert [len(part) for part in image_quality(torch.zeros(0, 3, 32, 32), torch.zeros(0, 3, 32, 32))] == [0, 0, 0]


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 16, 16\) and \(1, 1, 16, 16\)"):
        image_quality(torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16))
    with pytest.raises(ValueError, match="N, C, H, W"):
        image_quality(torch.zeros(3, 16, 16), torch.zeros(3, 16, 16))


def test_no_gradient_is_kept() -> None:
    x, other = pair(2, 3, 16, 16)
    assert not any(part.requires_grad for part in image_quality(x.requires_grad_(), other))


def test_kornia_and_lpips_are_imported_when_needed() -> None:
    code = (
        "import sys, bench.runner.image_quality as m; assert not {'kornia', 'lpips'} & set(sys.modules);"
        "import torch; m.image_quality(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8));"
        "assert 'lpips' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- LPIPS ---------------------------------------------------------------------------------------------------------


def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, genuine: bool = True) -> None:
    """A folder of torch.hub with a file of AlexNet's shapes, whose name has its digest or another."""
    weights = tmp_path / "checkpoints"
    weights.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = _imports.torchvision("torchvision.models").alexnet(weights=None)
    features = {name: value for name, value in network.state_dict().items() if name.startswith("features.")}
    torch.save(features, weights / "made")
    digest = hashlib.sha256((weights / "made").read_bytes()).hexdigest()[:8] if genuine else "7be5be79"
    monkeypatch.setattr(module, "TRUNK", f"alexnet-owt-{digest}.pth")
    (weights / "made").rename(weights / module.TRUNK)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))


def refuse(*args: object, **kwargs: object) -> None:
    raise AssertionError("nothing may be downloaded")


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.mark.usefixtures("_offline")
def test_without_weights_there_is_no_lpips_and_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    got = image_quality(*pair(2, 3, 32, 32))
    assert got.lpips.shape == (2,)
    assert got.lpips.isnan().all()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_offline")
def test_weights_without_the_package_are_no_lpips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(tmp_path, monkeypatch)
    if LPIPS:
        monkeypatch.setitem(sys.modules, "lpips", None)
    assert image_quality(*pair(2, 3, 32, 32)).lpips.isnan().all()


@pytest.mark.usefixtures("_offline")
def test_a_file_that_is_not_what_its_name_says_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(tmp_path, monkeypatch, genuine=False)
    monkeypatch.setattr(torch, "load", refuse)
    assert image_quality(*pair(2, 3, 32, 32)).lpips.isnan().all()


@pytest.mark.skipif(not LPIPS, reason="the package lpips isn't installed")
@pytest.mark.usefixtures("_offline")
def test_the_package_is_called_as_it_asks_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights, against the distance written out from the paper."""
    hub(tmp_path, monkeypatch)
    x, other = pair(3, 3, 64, 64)
    before = torch.random.get_rng_state()
    got = image_quality(x, other).lpips
    assert torch.equal(torch.random.get_rng_state(), before)

    network = module._network(x.device)
    features = torch.load(tmp_path / "checkpoints" / module.TRUNK, weights_only=True)
    trunk = _imports.torchvision("torchvision.models").alexnet(weights=None).features.eval()
    trunk.load_state_dict({name.removeprefix("features."): value for name, value in features.items()})
    mean, std = (torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    expected = torch.zeros(3)
    a, b = (x - mean) / std, (other - mean) / std
    linear = iter(network.lins)
    with torch.no_grad():
        for index, layer in enumerate(trunk):
            a, b = layer(a), layer(b)
            if index in (1, 4, 7, 9, 11):
                unit_a, unit_b = (v / (v.square().sum(1, keepdim=True).sqrt() + 1e-10) for v in (a, b))
                weights = next(linear).model[-1].weight[:, :, 0, 0]
                expected += ((unit_a - unit_b).square() * weights[0, :, None, None]).sum(1).mean((1, 2))
    assert got.tolist() == pytest.approx(expected.tolist(), rel=1e-3)  # the package rounds mean and std
    grey, other_grey = pair(2, 1, 31, 31)
    assert image_quality(grey, other_grey).lpips.isfinite().all()
    assert image_quality(*pair(2, 1, 30, 31)).lpips.isnan().all()
    assert image_quality(*pair(2, 4, 32, 32)).lpips.isnan().all()
