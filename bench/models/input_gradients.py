"""Gradients at the input of convolutions with few input channels, such as the first of a network: faster, and the same.

A CPU's backward pass computes input channels in vectors, of which the one or three of an image fill little, and strides leave
holes in them. So the pixels of a block become channels: the gradient is then a convolution with many output channels, which are
put in their places as pixels (the sub-pixel convolution of Shi et al. 2016, Real-Time Single Image and Video Super-Resolution
Using an Efficient Sub-Pixel Convolutional Neural Network, arXiv:1609.05158).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C import _functorch

IMAGE_CHANNELS = 4
"""Up to so many input channels this is faster than the backward pass of a CPU; measured by benchmarks/input_gradients.py."""
STRIDED_CHANNELS = 8
"""The same of a convolution with a stride."""
PRODUCTS = 2_000_000
"""Below so many products of a weight and a pixel, the time that Python takes is more than what is gained."""
_WASTED = 1.05
"""Where equal padding on both sides makes that many times the blocks that are wanted, padding just enough first is faster."""
KernelCache: TypeAlias = dict[tuple[object, ...], tuple[Tensor, Tensor]]
"""Weights as they were, and the kernels that were made of them."""
_caches: WeakKeyDictionary[nn.Conv2d, KernelCache] = WeakKeyDictionary()
_DTYPES = (torch.float32, torch.bfloat16)


@contextmanager
def fast_input_gradients(network: nn.Module) -> Iterator[None]:
    """Inside, gradients at the inputs of convolutions with few input channels are computed by :func:`input_gradient`.

    The convolutions themselves are those of torch, with the same bits, and so are all other gradients. Convolutions whose
    weights need gradients are left alone, as is a network with compiled parts.

    Args:
        network: may hold such convolutions.
    """
    changed = _suitable(network)
    for conv in changed:
        conv.__dict__["_conv_forward"] = partial(_convolved, conv)
    try:
        yield
    finally:
        for conv in changed:
            conv.__dict__.pop("_conv_forward", None)


def _suitable(network: nn.Module) -> list[nn.Conv2d]:
    found, dynamo = [], sys.modules.get("torch._dynamo")  # slow to import; without it nothing is compiled
    for part in network.modules():
        if dynamo is not None and isinstance(part, dynamo.OptimizedModule):
            return []
        if isinstance(part, nn.Conv2d) and _ordinary(part) and _pays(part):
            found.append(part)
    return found


def _ordinary(conv: nn.Conv2d) -> bool:
    return type(conv)._conv_forward is nn.Conv2d._conv_forward and "_conv_forward" not in conv.__dict__


def _pays(conv: nn.Conv2d) -> bool:
    strided = max(conv.stride) > 1
    simple = (
        conv.groups == 1
        and conv.padding_mode == "zeros"
        and max(conv.dilation) == 1
        and not isinstance(conv.padding, str)
    )
    large = strided or max(conv.kernel_size) > 1
    return simple and large and conv.in_channels <= (STRIDED_CHANNELS if strided else IMAGE_CHANNELS)


def _convolved(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``nn.Conv2d._conv_forward`` with another backward pass."""
    if not x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad) or not _gains(conv, x):
        usual: Tensor = nn.Conv2d._conv_forward(conv, x, weight, bias)
        return usual
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    found: Tensor = _Convolution.apply(x, weight, bias, conv)  # type: ignore[no-untyped-call]
    return found


def _gains(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether there are enough images, of the usual kind, and nothing but torch's ordinary gradients."""
    if x.dim() != 4 or x.device.type != "cpu" or x.dtype not in _DTYPES or not torch.is_grad_enabled():
        return False
    products = x.numel() * conv.out_channels * math.prod(conv.kernel_size) // math.prod(conv.stride)
    return products >= PRODUCTS and _functorch.peek_interpreter_stack() is None


class _Convolution(torch.autograd.Function):
    """Torch's convolution; its gradient reaches the input alone."""

    @staticmethod
    def forward(
        ctx: Any,  # Any: torch's interface
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        conv: nn.Conv2d,
    ) -> Tensor:
        ctx.conv = conv
        ctx.save_for_backward(x, weight)  # what torch's own saves: a network may compute them again, in its own way
        return F.conv2d(x, weight, bias, conv.stride, conv.padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # Any: torch's interface
        x, weight = ctx.saved_tensors
        conv: nn.Conv2d = ctx.conv
        known: dict[str, Any] = {"stride": conv.stride, "padding": conv.padding, "made": _caches.setdefault(conv, {})}
        with torch.autocast("cpu", enabled=False) if torch.is_autocast_enabled("cpu") else nullcontext():
            return input_gradient(gradients[0], weight, x.shape[2:], **known), None, None, None


def input_gradient(
    gradient: Tensor,
    weight: Tensor,
    size: tuple[int, ...],
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    made: KernelCache | None = None,
) -> Tensor:
    """The gradient at the input of a convolution.

    Args:
        gradient: at its output, shape (N, K, H', W').
        weight: its kernels, shape (K, C, kernel height, kernel width).
        size: height and width of the input.
        stride: of the convolution, for height and width.
        padding: with zeros, likewise.
        made: keeps what is made of the weights until they change.

    Returns:
        Shape (N, C, H, W), with the channels last in memory where they are so in ``gradient``.
    """
    channels = weight.shape[1]
    facts = zip(weight.shape[2:], stride, padding, size, gradient.shape[2:], strict=True)
    down, across = (_axis(*one, channels=channels) for one in facts)
    last = gradient.is_contiguous(memory_format=torch.channels_last)
    kernels = _kernels(weight, down, across, last, {} if made is None else made)
    strides = down.step, across.step
    if last and down.wasted * across.wasted > _WASTED:
        around = 0, 0, *across.sides, *down.sides
        lying = F.pad(gradient.permute(0, 2, 3, 1), around).permute(0, 3, 1, 2)[:, :, down.skipped :, across.skipped :]
        found = F.conv2d(lying, kernels, stride=strides)[:, :, : down.blocks, : across.blocks]
    else:
        found = F.conv2d(gradient, kernels, stride=strides, padding=(down.around, across.around))
        found = found[:, :, down.first : down.first + down.blocks, across.first : across.first + across.blocks]
    grid, block = (down.blocks, across.blocks), (down.block, across.block)
    if last:
        rows = found.permute(0, 2, 3, 1).reshape(len(found), *grid, block[0], -1).transpose(2, 3)
        placed = rows.reshape(len(found), grid[0] * block[0], grid[1] * block[1], channels).permute(0, 3, 1, 2)
    else:
        pixels = found.reshape(len(found), channels, *block, *grid).permute(0, 1, 4, 2, 5, 3)
        placed = pixels.flatten(4, 5).flatten(2, 3)
    cut: Tensor = placed[:, :, : size[0], : size[1]]
    return cut


def _kernels(weight: Tensor, down: _Axis, across: _Axis, last: bool, made: KernelCache) -> Tensor:
    """Those of the convolution that gives the gradient, (block, block, C) of them (C first where the channels aren't last)."""
    key = weight.dtype, last, id(down), id(across)  # axes are never let go
    if key in made:
        before, kernels = made[key]
        if torch.equal(before, weight):  # weights can be changed behind torch's back
            return kernels
    with torch.inference_mode(False), torch.no_grad():  # gradients go through them later
        before = weight.clone()
        taps = F.pad(before, (0, 1, 0, 1))[:, :, down.taps][..., across.taps]  # (K, C, block, kernel, block, kernel)
        kernels = taps.permute((2, 4, 1, 0, 3, 5) if last else (1, 2, 4, 0, 3, 5)).flatten(0, 2)
        if last:
            kernels = kernels.contiguous(memory_format=torch.channels_last)
    made[key] = before, kernels
    return kernels


class _Axis(NamedTuple):
    """One dimension of the convolution that gives a gradient in blocks of neighbouring pixels."""

    block: int
    """pixels of a block: a multiple of the stride"""
    blocks: int
    step: int
    """from block to block, in pixels of the output"""
    around: int
    """padding of the output's gradient"""
    first: int
    """block at which the input begins"""
    sides: tuple[int, int]
    """padding before and after that is just enough"""
    skipped: int
    """pixels of the output's gradient before the first that is read"""
    wasted: float
    """blocks that are computed with ``around``, of those that are wanted"""
    taps: Tensor
    """which of the kernel's weights takes part, for each pixel of a block and each pixel of the output that it reads; one past
    the last where none does"""


@cache
def _axis(kernel: int, stride: int, padding: int, size: int, outputs: int, *, channels: int) -> _Axis:
    block = stride * -(-(4 if channels == 1 else 2) // stride)
    step, blocks = block // stride, -(-size // block)
    # Pixel i of the input reads pixel o of the output through tap i + padding - stride * o.
    lowest, highest = -((kernel - 1 - padding) // stride), (block - 1 + padding) // stride
    reads = range(lowest, highest + 1)
    taps = [[pixel + padding - stride * read for read in reads] for pixel in range(block)]
    before, after = max(0, -lowest), max(0, step * (blocks - 1) + highest - outputs + 1)
    around = max(before, after)
    around += -(around + lowest) % step
    computed = (outputs + 2 * around - len(reads)) // step + 1
    with torch.inference_mode(False):  # whoever asks first, others may need gradients through it
        known = torch.tensor([[tap if 0 <= tap < kernel else kernel for tap in row] for row in taps])
    first = (around + lowest) // step
    return _Axis(block, blocks, step, around, first, (before, after), max(0, lowest), computed / blocks, known)
