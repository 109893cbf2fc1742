"""Weights with the channels last: where a network takes them, and not where it doesn't."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from bench.models.wrapper import CountedModel
from bench.runner.worker import channels_last


class Flat(nn.Module):
    """Takes a view of what its convolution gives, or flattens it, as most networks do."""

    def __init__(self, *, view: bool) -> None:
        super().__init__()
        self.view = view
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.linear = nn.Linear(4 * 8 * 8, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        return cast(Tensor, self.linear(out.view(len(out), -1) if self.view else out.flatten(1)))


@pytest.mark.parametrize("view", [False, True])
def test_a_network_that_needs_the_usual_layout_keeps_it(view: bool) -> None:
    network, x = Flat(view=view), torch.rand(2, 3, 8, 8)
    model = CountedModel(network, num_classes=5)
    before = model(x)
    model.passes.reset()
    channels_last(model, x)
    assert network.conv.weight.is_contiguous() is view
    assert model.passes.forward == 0
    assert torch.allclose(model(x), before, atol=1e-6)
