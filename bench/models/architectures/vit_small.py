"""ViT-small for 32x32 images, from timm's code."""

from __future__ import annotations

from torch import nn

from bench import _imports


def vit_small(
    *, image_size: int = 32, patch_size: int = 4, in_channels: int = 3, num_classes: int = 10, drop_path: float = 0.0
) -> nn.Module:
    """A vision transformer of 12 layers, 384 channels and 6 heads (Dosovitskiy et al. 2021, arXiv:2010.11929).

    The size of Touvron et al. 2021 (DeiT-S, arXiv:2012.12877), with patches small enough for small images: 21,342,346
    parameters by default.

    Args:
        image_size: side of the images in pixels, a multiple of ``patch_size``.
        patch_size: side of a patch in pixels.
        in_channels: channels of the images.
        num_classes: number of logits.
        drop_path: share of the residual branches that are left out in training.
    """
    if image_size % patch_size:
        raise ValueError(f"image_size must be a multiple of patch_size, got {image_size} and {patch_size}")
    network: nn.Module = _imports.timm().create_model(
        "vit_small_patch16_224",
        pretrained=False,
        img_size=image_size,
        patch_size=patch_size,
        in_chans=in_channels,
        num_classes=num_classes,
        drop_path_rate=drop_path,
    )
    return network
