"""The MNIST network of Madry et al., for 28x28 grey images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def madry_cnn(
    *, channels: Sequence[int] = (32, 64), hidden: int = 1024, num_classes: int = 10, image_size: int = 28
) -> nn.Sequential:
    """Two 5x5 convolutions, each with ReLU and 2x2 max pooling, then two linear layers.

    Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, arXiv:1706.06083: 3,274,634
    parameters (13 MB) by default, nearly all of them in the first linear layer.

    Args:
        channels: widths of the two convolutions.
        hidden: width of the first linear layer.
        num_classes: number of logits.
        image_size: side of the images in pixels, a multiple of 4.
    """
    if len(channels) != 2 or image_size % 4:
        raise ValueError(f"madry_cnn takes two channels and an image_size that 4 divides, got {channels}, {image_size}")
    first, second = channels
    return nn.Sequential(
        nn.Conv2d(1, first, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (image_size // 4) ** 2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )
