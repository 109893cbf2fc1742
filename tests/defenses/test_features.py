"""What goes into a network's last layer, seen from outside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.defenses.features import Features
from bench.errors import BenchError
from bench.models.wrapper import CountedModel


class TwoHeads(nn.Module):
    """Defines its layers in another order than it executes them, and one that it never executes."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(5, 3)
        self.first = nn.Linear(12, 5)
        self.unused = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.flatten(1)).relu()) * 2


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_pre_hooks) for module in network.modules())


@pytest.fixture
def x() -> Tensor:
    return torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def test_the_layer_is_the_one_that_is_executed_last(x: Tensor) -> None:
    network = TwoHeads()
    features = Features(network, network, x[:1])
    assert features.layer is network.last
    assert features.name == "last"
    logits, seen = features.look(x)
    assert torch.equal(logits, network(x))
    assert torch.equal(seen, network.first(x.flatten(1)).relu())
    assert hooks(network) == 0


def test_features_keep_their_graph(x: Tensor) -> None:
    network = TwoHeads()
    point = x.clone().requires_grad_()
    logits, seen = Features(network, network, x).look(point)
    (gradient,) = torch.autograd.grad(seen.sum() + logits.sum(), point)
    other = x.clone().requires_grad_()
    hidden = network.first(other.flatten(1)).relu()
    (expected,) = torch.autograd.grad(hidden.sum() + 2 * network.last(hidden).sum(), other)
    assert torch.allclose(gradient, expected)
    assert bool(gradient.any())


def test_without_a_linear_layer_it_is_the_last_convolution(x: Tensor) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).requires_grad_(False)
    features = Features(network, network, x)
    assert features.name == "2"
    assert torch.equal(features.look(x)[1], network[:2](x).flatten(1))


def test_a_network_with_neither_is_refused(x: Tensor) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Softmax(1))
    with pytest.raises(BenchError, match=r"executes no nn\.Linear and no nn\.Conv2d"):
        Features(network, network, x)


def test_a_pass_in_pieces_gives_the_same_features_and_gradients(x: Tensor) -> None:
    model = CountedModel(TwoHeads(), num_classes=3)
    features = Features(model, model, x)
    found = []
    for microbatch in (None, 4):
        model.microbatch = microbatch
        point = x.clone().requires_grad_()
        logits, seen = features.look(point)
        (gradient,) = torch.autograd.grad(seen.square().sum() + logits.sum(), point)
        found.append((logits.detach(), seen.detach(), gradient))
    for whole, pieces in zip(*found, strict=True):
        assert torch.allclose(whole, pieces, atol=1e-6)


def test_hooks_go_when_the_network_raises(x: Tensor) -> None:
    network = TwoHeads()
    features = Features(network, network, x)
    with pytest.raises(RuntimeError):
        features.look(x[:, :, :1])
    assert hooks(network) == 0


def test_inputs_that_are_not_one_for_each_image_are_refused(x: Tensor) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x.reshape(-1, 4)).reshape(len(x), 3, 2).mean(1)

    network = Tokens()
    with pytest.raises(BenchError, match=r"head must get one input for each of 6 images, a pass gave it: \(18, 4\)"):
        Features(network, network, x).look(x)


def test_later_work_in_place_does_not_change_the_features(x: Tensor) -> None:
    class InPlace(TwoHeads):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x.flatten(1))
            logits = self.last(hidden)
            hidden.zero_()
            return logits

    network = InPlace().requires_grad_(False)
    assert torch.equal(Features(network, network, x).look(x)[1], network.first(x.flatten(1)))
