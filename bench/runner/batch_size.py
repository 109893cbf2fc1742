"""How many images go through a model at a time, where the user doesn't say."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from bench.attacks.memory import out_of_memory

SMALL = 128
LARGE = 512
"""On a CPU; small models are faster in large batches, because what isn't the model costs the same for every batch."""
CPU_BYTES = 2**28
"""What a large batch may keep for its backward pass: beyond that, memory is slow and models gain nothing."""
GPU_BATCH = 1024
GPU_SHARE = 0.6
"""Share of the free memory of a GPU that a batch may take."""

_log = logging.getLogger(__name__)


def find_batch_size(model: Any, images: Tensor) -> int:  # Any: a counted or defended model
    """The most images of a pass; on a CPU the same for the same model on every machine.

    Args:
        model: images to logits.
        images: at least one clean image, shape (N, C, H, W), on the model's device.
    """
    return _on_gpu(model, images) if images.device.type == "cuda" else _on_cpu(model, images)


def _on_cpu(model: Any, images: Tensor) -> int:  # Any: as above
    try:
        each = max(1, _kept(model, images, 2) - _kept(model, images, 1))
    except Exception as error:
        if out_of_memory(error):
            raise
        return SMALL
    size = LARGE
    while size > SMALL and size * each > CPU_BYTES:
        size //= 2
    return size


def _kept(model: Any, images: Tensor, count: int) -> int:  # Any: as above
    """Bytes that a forward pass keeps for the backward pass."""
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        model(images[:1].repeat(count, 1, 1, 1).requires_grad_())
    return kept


def _on_gpu(model: Any, images: Tensor) -> int:  # Any: as above
    """The largest power of two whose forward and backward pass takes a fair share of the free memory."""
    trial = images[:1].repeat(8, 1, 1, 1).requires_grad_()
    torch.cuda.reset_peak_memory_stats(images.device)
    before = torch.cuda.memory_allocated(images.device)
    torch.autograd.grad(model(trial).sum(), trial)
    each = max(1, (torch.cuda.max_memory_allocated(images.device) - before) // len(trial))
    free, _ = torch.cuda.mem_get_info(images.device)
    size = GPU_BATCH
    while size > 1 and size * each > GPU_SHARE * free:
        size //= 2
    _log.info("batch size %d: %d bytes a sample, %d free", size, each, free)
    return size
