"""The processes of a training that torch's launcher started: each takes its part of every batch.

``torchrun --nproc-per-node 2 -m bench train ...`` starts them. Gradients and the statistics of batch norm are averaged
once per update, so the weights are the same in all of them; the first one writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Processes:
    """How many processes there are, and which one this is.

    Attributes:
        count: of them.
        rank: of this one, from 0.
        local: its place on its machine: the number of its GPU.
    """

    count: int = 1
    rank: int = 0
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this one writes and tells."""
        return self.rank == 0

    def part(self, images: int) -> range:
        """The places in a batch of this process's images."""
        return range(images * self.rank // self.count, images * (self.rank + 1) // self.count)

    def add(self, *tensors: Tensor) -> None:
        """Adds these up over the processes, in place, all in one message."""
        if self.count == 1:
            return
        with torch.no_grad():
            flat = torch.cat([tensor.reshape(-1).to(tensors[0].dtype) for tensor in tensors])
            dist.all_reduce(flat)
            for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(summed.view_as(tensor))

    def combine(self, model: nn.Module) -> None:
        """Adds up the gradients, and averages the statistics that layers keep."""
        if self.count == 1:
            return
        statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self.add(*(p.grad for p in model.parameters() if p.grad is not None), *statistics)
        for buffer in statistics:
            buffer.div_(self.count)

    def agreed(self, value: float, device: torch.device) -> float:
        """The first process's value in all of them, so that they decide alike."""
        if self.count == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(said, 0)
        return float(said)


@contextmanager
def joined() -> Iterator[Processes]:
    """Joins the processes that torch's launcher started; alone where it didn't."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or "RANK" not in os.environ:
        yield Processes()
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Processes(count, int(os.environ["RANK"]), local)
    finally:
        dist.destroy_process_group()
