"""Normalisation with constants laid out like an image."""

from __future__ import annotations

import pytest
import torch

from bench.models.normalisation import Planes, normalised

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1), torch.tensor([0.2, 0.3, 0.1]).view(1, 3, 1, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_the_broadcast_bit_for_bit(layout: torch.memory_format, dtype: torch.dtype) -> None:
    planes: Planes = {}
    for size in (8, 5, 8):
        x = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(size)).to(dtype)
        x = x.contiguous(memory_format=layout).requires_grad_()
        ours, theirs = normalised(x, MEAN, STD, planes), (x - MEAN.to(dtype)) / STD.to(dtype)
        assert torch.equal(ours, theirs)
        assert ours.stride() == theirs.stride()
        weights = torch.rand(ours.shape, generator=torch.Generator().manual_seed(9)).to(dtype)
        one, other = (torch.autograd.grad((out * weights).sum(), x)[0] for out in (ours, theirs))
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
    assert len(planes) == 2


def test_few_sizes_are_kept() -> None:
    planes: Planes = {}
    for size in range(1, 30):
        normalised(torch.rand(2, 3, size, size), MEAN, STD, planes)
    assert len(planes) <= 8


def test_gradients_go_through_what_inference_kept() -> None:
    planes: Planes = {}
    x = torch.rand(2, 3, 4, 4)
    with torch.inference_mode():
        normalised(x, MEAN, STD, planes)
    normalised(x.requires_grad_(), MEAN, STD, planes).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (1 / STD).expand_as(x))


def test_a_permuted_batch_is_normalised_too() -> None:
    x = torch.rand(2, 5, 3, 4).permute(0, 2, 3, 1).transpose(2, 3)
    assert torch.equal(normalised(x, MEAN, STD, {}), (x - MEAN) / STD)
