"""ResNet-18 for small images: a 3x3 stem, no pooling before the blocks."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (N, planes, H / stride, W / stride)."""
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """Four stages of basic blocks, average pooling, one linear layer.

    The names of its tensors are those of the widespread CIFAR code (``conv1``, ``layer1.0.bn1``, ``linear``), which
    AutoAttack's packaged weights use too.

    Args:
        blocks: number of blocks in each stage.
        in_channels: channels of the images.
        num_classes: number of logits.
    """

    def __init__(self, blocks: tuple[int, int, int, int], *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = self._stage(64, 64, blocks[0], 1)
        self.layer2 = self._stage(64, 128, blocks[1], 2)
        self.layer3 = self._stage(128, 256, blocks[2], 2)
        self.layer4 = self._stage(256, 512, blocks[3], 2)
        self.linear = nn.Linear(512, num_classes)

    @staticmethod
    def _stage(in_planes: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
        rest = (BasicBlock(planes, planes, 1) for _ in range(blocks - 1))
        return nn.Sequential(BasicBlock(in_planes, planes, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, num_classes), of images of shape (N, C, H, W)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        return cast(Tensor, self.linear(out.mean((2, 3))))


def resnet18(*, in_channels: int = 3, num_classes: int = 10) -> ResNet:
    """ResNet-18 for 32x32 images; see :class:`ResNet`."""
    return ResNet((2, 2, 2, 2), in_channels=in_channels, num_classes=num_classes)
