"""The two-block residual network of the verification literature ("resnet2b")."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class PlainBlock(nn.Module):
    """A basic residual block without batch norm: two 3x3 convolutions with bias.

    The shortcut is a 1x1 convolution where the shape changes, otherwise the identity.
    """

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, 1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (N, planes, H / stride, W / stride)."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class ResNet2b(nn.Module):
    """A strided 3x3 convolution, two residual blocks, two linear layers (Wang et al. 2021, arXiv:2103.06624).

    Args:
        in_planes: width of the first convolution; the blocks are twice as wide.
        hidden: width of the first linear layer.
        num_classes: number of logits.
    """

    def __init__(self, *, in_planes: int, hidden: int, num_classes: int) -> None:
        super().__init__()
        planes = 2 * in_planes
        self.conv1 = nn.Conv2d(3, in_planes, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(PlainBlock(in_planes, planes, 2), PlainBlock(planes, planes, 1))
        self.linear1 = nn.Linear(planes * 8 * 8, hidden)
        self.linear2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, num_classes), of images of shape (N, 3, 32, 32)."""
        features = self.layer1(F.relu(self.conv1(x))).flatten(1)
        return cast(Tensor, self.linear2(F.relu(self.linear1(features))))


def resnet_2b(*, in_planes: int = 8, hidden: int = 100, num_classes: int = 10) -> ResNet2b:
    """The network of ``resnet2b.pth``; see :class:`ResNet2b`."""
    return ResNet2b(in_planes=in_planes, hidden=hidden, num_classes=num_classes)
