"""How close two batches of images are, image by image: PSNR, SSIM and LPIPS."""

from __future__ import annotations

import hashlib
import importlib
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench import _imports
from bench.runner.judge import exact_arithmetic

WINDOW = 11
"""Side of SSIM's Gaussian window; smaller images have no SSIM."""
TRUNK = "alexnet-owt-7be5be79.pth"
"""torchvision's file of AlexNet's ImageNet weights, LPIPS's backbone; the name ends in the first digits of its sha256."""
_SMALLEST = 31
"""Side of the smallest image that leaves something after AlexNet's strides."""
_CHUNK = 32
"""Images at a time: SSIM keeps a dozen float64 copies of them."""


class Quality(NamedTuple):
    """Three measures of each image against another, shape (N,), float64 on the device of the images."""

    psnr: Tensor
    """peak signal-to-noise ratio in dB, larger is closer; NaN where the two images are equal"""
    ssim: Tensor
    """structural similarity in [-1, 1], larger is closer; NaN where a side is below 11 pixels"""
    lpips: Tensor
    """LPIPS distance, smaller is closer; NaN where it can't be computed on this machine"""


@torch.no_grad()
def image_quality(x: Tensor, other: Tensor) -> Quality:
    """Compares images pairwise; either order gives the same.

    PSNR is ``-10 log10`` of the mean squared difference over pixels and channels, with a peak of 1. SSIM is that of Wang et
    al. (2004): an 11 x 11 Gaussian window with sigma 1.5, K1 = 0.01, K2 = 0.03, a data range of 1, population covariances, the
    mean over the places where the whole window lies inside the image and over the channels (as scikit-image with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``). Both are computed in float64: float32 loses the
    small differences of flat images, and may be TF32 on a GPU.

    LPIPS (Zhang et al. 2018, arXiv:1801.03924; version 0.1 on AlexNet) needs the package ``lpips`` and AlexNet's weights
    where torch.hub keeps them (``checkpoints/alexnet-owt-7be5be79.pth``, checked against the digits in its name); they are
    never downloaded. It is NaN without them, for images below 31 pixels, and for other than 1 or 3 channels. It was never
    run on AlexNet's real weights: where the package is installed, the tests compare it with the formula written out, on a
    random backbone under the package's own linear weights.

    Args:
        x: images in [0, 1], shape (N, C, H, W).
        other: what they are compared with, the same shape.

    Raises:
        ValueError: where the shapes differ or aren't those of images.
    """
    if x.shape != other.shape or x.ndim != 4:
        raise ValueError(
            f"two batches of shape (N, C, H, W) are compared, got {tuple(x.shape)} and {tuple(other.shape)}"
        )
    if not len(x):
        return Quality(_none(x), _none(x), _none(x))
    pairs = zip(x.split(_CHUNK), other.split(_CHUNK), strict=True)  # type: ignore[no-untyped-call]
    measured = [(_psnr(a, b), _ssim(a, b), _lpips(a, b)) for a, b in pairs]
    return Quality(*(torch.cat(parts) for parts in zip(*measured, strict=True)))


def _psnr(x: Tensor, other: Tensor) -> Tensor:
    squared = (x.double() - other.double()).square().mean(dim=(1, 2, 3))
    return torch.where(squared > 0, -10 * squared.log10(), torch.nan)


def _ssim(x: Tensor, other: Tensor) -> Tensor:
    if min(x.shape[-2:]) < WINDOW:
        return _none(x)
    kornia: Any = importlib.import_module("kornia.metrics")  # Any: no annotations to rely on; it takes two seconds
    # eps only keeps the denominator off 0, where C2 has it already, and makes equal images a little unequal.
    places: Tensor = kornia.ssim(x.double(), other.double(), WINDOW, max_val=1.0, eps=0.0, padding="valid")
    return places.mean(dim=(1, 2, 3))


def _lpips(x: Tensor, other: Tensor) -> Tensor:
    if min(x.shape[-2:]) < _SMALLEST or x.shape[1] not in (1, 3):
        return _none(x)
    network = _network(x.device)
    if network is None:
        return _none(x)
    colours = (image.float().expand(-1, 3, -1, -1) for image in (x, other))
    with exact_arithmetic():
        distances: Tensor = network(*colours, normalize=True)
    return distances.flatten().double()


def _none(x: Tensor) -> Tensor:
    return torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)


@lru_cache(maxsize=2)
def _network(device: torch.device) -> Any | None:  # Any: the package has no annotations
    """LPIPS with its weights; ``None`` where the package or the backbone's weights aren't there."""
    trunk = Path(torch.hub.get_dir()) / "checkpoints" / TRUNK
    if not trunk.is_file() or not _genuine(trunk):
        return None
    _imports.prepare_torchvision()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torchvision's older interface, which the package calls
            package = importlib.import_module("lpips")
            # A random backbone is never downloaded; its draws are not the attacks' business.
            with torch.random.fork_rng(devices=[]):
                network = package.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    except ImportError:
        return None
    weights = torch.load(trunk, map_location="cpu", weights_only=True)
    # "slice2.3.weight" there is "features.3.weight" here.
    names = {name: "features." + name.split(".", 1)[1] for name in network.net.state_dict()}
    network.net.load_state_dict({name: weights[source] for name, source in names.items()})
    return network.to(device).eval()


def _genuine(trunk: Path) -> bool:
    """Whether the file is the one that its name says."""
    with trunk.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(trunk.stem.rsplit("-", 1)[1])
