"""A small pre-activation ResNet of three stages for 32x32 images: a wide residual network of any depth and width."""

from __future__ import annotations

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
    """Three stages of pre-activation blocks, average pooling, one linear layer.

    A WRN-d-k (Zagoruyko & Komodakis 2016, arXiv:1605.07146) is ``blocks = (d - 4) / 6`` and ``width = 16 k``. The
    images are centred inside, by constants.

    Args:
        width: channels of the first stage; the others have twice and four times as many.
        blocks: blocks of each stage.
        stem: channels of the first convolution.
        activation: ``relu``, or the smooth ``silu``, which helps small networks in adversarial training (Xie et al.
            2020, Smooth Adversarial Training, arXiv:2006.14536).
        in_channels: channels of the images.
        num_classes: number of logits.
    """

    def __init__(
        self,
        *,
        width: int,
        blocks: int,
        stem: int,
        activation: Literal["relu", "silu"],
        in_channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[activation]
        self.conv1 = nn.Conv2d(in_channels, stem, 3, padding=1, bias=False)
        layers, planes = [], stem
        for stage in range(3):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(PreActBlock(planes, width * 2**stage, stride, activation))
                planes = width * 2**stage
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
    width: int = 32,
    blocks: int = 2,
    stem: int = 16,
    activation: Literal["relu", "silu"] = "relu",
    in_channels: int = 3,
    num_classes: int = 10,
) -> PreActResNet:
    """WRN-16-2 by default, 691,674 parameters (2.8 MB); see :class:`PreActResNet`."""
    if min(width, blocks, stem) < 1:
        raise ValueError(f"width, blocks and stem are at least 1, got {width}, {blocks} and {stem}")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation {activation!r} (accepted: {', '.join(_ACTIVATIONS)})")
    return PreActResNet(
        width=width,
        blocks=blocks,
        stem=stem,
        activation=activation,
        in_channels=in_channels,
        num_classes=num_classes,
    )
