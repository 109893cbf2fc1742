"""A small pre-activation ResNet for 32x32 images: a wide residual network of any depth and width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

_ACTIVATIONS = {"relu": F.relu, "silu": F.silu}
_CENTRE, _SPREAD = 0.5, 0.25
"""About the mean and the standard deviation of natural images in [0, 1]."""


class PreActBlock(nn.Module):
    """Batch norm and activation before each of two 3x3 convolutions (He et al. 2016, arXiv:1603.05027).

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.
    """

    def __init__(self, in_planes: int, planes: int, stride: int, activation: Literal["relu", "silu"]) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[activation]
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (N, planes, H / stride, W / stride)."""
        out = self.activation(self.bn1(x))
        kept = x if self.shortcut is None else self.shortcut(out)
        out = self.conv2(self.activation(self.bn2(self.conv1(out))))
        return cast(Tensor, kept + out)


class PreActResNet(nn.Module):
    """Stages of pre-activation blocks, average pooling, one linear layer.

    A WRN-d-k (Zagoruyko & Komodakis 2016, arXiv:1605.07146) is ``blocks = (d - 4) / 6`` and ``width = 16 k``. The
    images are centred inside, by constants.

    Args:
        widths: channels of each stage; each after the first halves the features' height and width.
        blocks: blocks of each stage.
        stem: channels of the first convolution.
        stem_stride: its stride, and its kernel's size less two: at 2, the first stage sees half the height and width, which
            costs a quarter, so that a processor's time buys a wider network.
        activation: ``relu``, or the smooth ``silu``, which helps small networks in adversarial training (Xie et al.
            2020, Smooth Adversarial Training, arXiv:2006.14536).
        in_channels: channels of the images.
        num_classes: number of logits.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int],
        blocks: int,
        stem: int,
        stem_stride: int,
        activation: Literal["relu", "silu"],
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[activation]
        self.conv1 = nn.Conv2d(in_channels, stem, stem_stride + 2, stride=stem_stride, padding=1, bias=False)
        layers, planes = [], stem
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(PreActBlock(planes, width, 2 if stage and not block else 1, activation))
                planes = width
        self.blocks = nn.Sequential(*layers)
        self.bn = nn.BatchNorm2d(planes)
        self.linear = nn.Linear(planes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, num_classes), of images in [0, 1], shape (N, C, H, W)."""
        out = self.blocks(self.conv1((x - _CENTRE) / _SPREAD))
        return cast(Tensor, self.linear(self.activation(self.bn(out)).mean((2, 3))))


def preact_resnet(
    *,
    width: int | Sequence[int] = 32,
    blocks: int = 2,
    stem: int = 16,
    stem_stride: int = 1,
    activation: Literal["relu", "silu"] = "relu",
    in_channels: int = 3,
    num_classes: int = 10,
) -> PreActResNet:
    """WRN-16-2 by default, 691,674 parameters (2.8 MB); see :class:`PreActResNet`.

    Args:
        width: channels of the first of three stages, of which the others have twice and four times as many; or those of each
            stage, as many as there shall be.
        blocks: as there.
        stem: as there.
        stem_stride: as there.
        activation: as there.
        in_channels: as there.
        num_classes: as there.

    Raises:
        ValueError: for numbers below one, no stage, or an activation that isn't known.
    """
    widths = [width, 2 * width, 4 * width] if isinstance(width, int) else list(width)
    if min(*widths, 1, blocks, stem, stem_stride) < 1 or not widths:
        raise ValueError(
            f"width, blocks, stem and stem_stride are at least 1, got {width}, {blocks}, {stem} and {stem_stride}"
        )
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation {activation!r} (accepted: {', '.join(_ACTIVATIONS)})")
    return PreActResNet(
        widths=widths,
        blocks=blocks,
        stem=stem,
        stem_stride=stem_stride,
        activation=activation,
        in_channels=in_channels,
        num_classes=num_classes,
    )
