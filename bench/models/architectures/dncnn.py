"""The denoising network DnCNN: images to images."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn


class DnCNN(nn.Module):
    """Convolutions that see the noise, which is then taken off the image.

    Zhang et al. 2017, Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising, arXiv:1608.03981.
    Without batch normalisation, as the authors publish their weights (merged into the convolutions), so that trained
    and published weights are the same network: ``model.0``, ``model.2``, ... are the convolutions, and the defense
    ``dncnn`` takes the file.

    Args:
        in_channels: channels of the images.
        width: channels of the inner convolutions.
        depth: number of convolutions.
    """

    def __init__(self, *, in_channels: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [in_channels, *[width] * (depth - 1), in_channels]
        layers: list[nn.Module] = []
        for into, out in pairwise(widths):
            layers += [nn.Conv2d(into, out, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])
        for layer in self.model:
            if isinstance(layer, nn.Conv2d):
                # Without batch norm torch's default start lets the signal fade over 17 layers.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))
        # It begins as the identity, from which no step has to come back.
        nn.init.zeros_(cast(nn.Conv2d, self.model[-1]).weight)

    def forward(self, x: Tensor) -> Tensor:
        """Denoised images of images in [0, 1], shape (N, C, H, W); they may leave [0, 1] by a little."""
        return cast(Tensor, x - self.model(x))


def dncnn(*, in_channels: int = 1, width: int = 64, depth: int = 17) -> DnCNN:
    """555,137 parameters (2.2 MB) by default, the size of the paper's DnCNN-S; see :class:`DnCNN`."""
    if min(in_channels, width) < 1 or depth < 2:
        raise ValueError(f"in_channels and width are at least 1, depth at least 2, got {in_channels}, {width}, {depth}")
    return DnCNN(in_channels=in_channels, width=width, depth=depth)
