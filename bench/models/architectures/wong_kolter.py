"""The convolutional networks of the certified-training literature, as one ``nn.Sequential``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def wong_kolter(
    *,
    in_channels: int = 3,
    image_size: int = 32,
    channels: Sequence[int] = (16, 32),
    padding: int = 1,
    hidden: Sequence[int] = (100,),
    num_classes: int = 10,
) -> nn.Sequential:
    """4x4 convolutions of stride 2 with ReLU, then linear layers with ReLU between (Wong & Kolter 2018).

    The defaults are the CIFAR network of arXiv:1711.00851 and arXiv:1805.12514; ``in_channels=1, image_size=28`` gives
    the MNIST one, ``padding=0, hidden=[128, 64]`` the "medium" network of the Marabou benchmarks.

    Args:
        in_channels: 1 for grey images, 3 for colour.
        image_size: side of the images in pixels.
        channels: widths of the convolutions.
        padding: of the convolutions.
        hidden: widths of the hidden linear layers.
        num_classes: number of logits.
    """
    layers: list[nn.Module] = []
    width, side = in_channels, image_size
    for channel in channels:
        layers += [nn.Conv2d(width, channel, 4, stride=2, padding=padding), nn.ReLU()]
        width, side = channel, (side + 2 * padding - 4) // 2 + 1
    if side < 1:
        raise ValueError(f"images of {image_size} pixels are too small for {len(channels)} convolutions of stride 2")
    layers.append(nn.Flatten())
    width *= side * side
    for size in hidden:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, num_classes))
