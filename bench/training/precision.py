"""The arithmetic of a training's passes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from bench.runner import devices
from bench.training.recipe import Recipe


def resolved(recipe: Recipe, device: torch.device) -> str:
    """``float32`` or ``bfloat16``: what the recipe's precision means on this device.

    ``auto`` takes bfloat16 on CPUs with AVX512-BF16, too: large batches of a training gain from it, an attack's hardly do.
    """
    if recipe.precision == "auto" and devices.bfloat16_vectors(device):
        return "bfloat16"
    return devices.search_precision(recipe.precision, device)


def passes(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Inside, products are computed in this precision; weights, statistics and losses stay float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def arranged(network: nn.Module, precision: str) -> nn.Module:
    """The network with its weights channels last where bfloat16 is faster so; the values are the same."""
    if precision == "bfloat16":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def arranged_images(x: Tensor, precision: str) -> Tensor:
    """Images, shape (N, C, H, W), in the memory format of the network."""
    return x.contiguous(memory_format=torch.channels_last) if precision == "bfloat16" else x
