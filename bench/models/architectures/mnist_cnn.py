"""The small CNN of the zoo, for 28x28 grey images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def mnist_cnn(
    *, channels: Sequence[int] = (16, 32), hidden: int = 100, num_classes: int = 10, image_size: int = 28
) -> nn.Sequential:
    """Two 4x4 convolutions of stride 2 with ReLU, then two linear layers.

    The small network of Wong & Kolter 2018 (arXiv:1711.00851): 166,406 parameters (0.7 MB) by default. Strides in the
    place of pooling make it cheap enough for adversarial training and AutoAttack on two cores.

    Args:
        channels: widths of the two convolutions.
        hidden: width of the first linear layer.
        num_classes: number of logits.
        image_size: side of the images in pixels, a multiple of 4.
    """
    if len(channels) != 2 or image_size % 4:
        raise ValueError(f"mnist_cnn takes two channels and an image_size that 4 divides, got {channels}, {image_size}")
    first, second = channels
    return nn.Sequential(
        nn.Conv2d(1, first, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(second * (image_size // 4) ** 2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )
