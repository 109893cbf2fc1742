"""How many images of a pass a model gets on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.wrapper import CountedModel
from bench.runner.batch_size import CPU_BYTES, LARGE, SMALL, find_batch_size

X = torch.rand(2, 3, 8, 8)


class Keeps(nn.Module):
    """Keeps ``size`` images' worth of memory for the backward pass of each image, at least."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.head = size, nn.Linear(192, 4)

    def forward(self, x: Tensor) -> Tensor:
        more = x.flatten(1).repeat(1, self.size).square()
        logits: Tensor = self.head(x.flatten(1)) + more.sum(1, keepdim=True)
        return logits


def test_small_models_get_large_batches_and_large_ones_what_they_can_keep() -> None:
    image = 192 * 4
    for wanted in (512, 256, 128):
        room = CPU_BYTES / wanted / image
        assert find_batch_size(CountedModel(Keeps(int(room * 0.9)), num_classes=4), X) == wanted
    assert find_batch_size(CountedModel(Keeps(int(CPU_BYTES / 4 / image)), num_classes=4), X) == SMALL
    assert find_batch_size(CountedModel(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), num_classes=4), X[:1]) == LARGE


class Refuses(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no such images")


def test_a_model_that_raises_is_left_to_whoever_evaluates_it() -> None:
    assert find_batch_size(CountedModel(Refuses(), num_classes=4), X) == SMALL
