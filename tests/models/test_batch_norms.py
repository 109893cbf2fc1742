"""Batch norms folded into convolutions: the same function, and the network as it is wherever that isn't so."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.models.architectures import building
from bench.models.compiled import values
from bench.models.folded import FoldedNetwork, _pairs, fold

X = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def trained(network: nn.Module) -> nn.Module:
    """With statistics and weights of batch norms that change what goes through them."""
    torch.manual_seed(2)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values_ in (part.running_mean, part.bias):
                nn.init.normal_(values_, 0, 0.3)  # type: ignore[arg-type]
            for values_ in (part.running_var, part.weight):
                nn.init.uniform_(values_, 0.5, 2)  # type: ignore[arg-type]
    return network.eval().requires_grad_(False)


def made(name: str, activation: str = "relu") -> nn.Module:
    args = {"width": 8, "activation": activation} if name == "preact_resnet" else {}
    return trained(building.build(name, args, num_classes=10))


def folded(module: nn.Module) -> FoldedNetwork:
    return FoldedNetwork(module, module, lambda other: other)


NETWORKS = pytest.mark.parametrize(("name", "norms"), [("resnet18", 20), ("preact_resnet", 7), ("preact_resnet18", 8)])


@NETWORKS
def test_logits_and_gradients_stay(name: str, norms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where rounding crosses the kink of a ReLU, the gradient jumps: in float32, on some processors, it does.
    monkeypatch.setattr(functional, "relu", functional.silu)
    network = made(name, activation="silu")
    fast = folded(network)
    points = X[:2].clone().requires_grad_()
    for one, other in zip(values(fast, points), values(network, points), strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-4
    assert fast.folded == norms


@NETWORKS
def test_logits_and_gradients_stay_in_float64_with_relu(name: str, norms: int) -> None:
    network = made(name).double()
    fast, points = copy.deepcopy(network), X[:2].double().requires_grad_()
    pairs = _pairs(network, network, points)
    fold(fast, pairs)
    assert len(pairs) == norms
    for one, other in zip(values(fast, points), values(network, points), strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-6


@NETWORKS
def test_logits_stay_in_float32_with_relu(name: str, norms: int) -> None:
    network = made(name)
    fast = folded(network)
    assert float((fast(X[:2]) - network(X[:2])).norm() / network(X[:2]).norm()) < 1e-3
    assert fast.folded == norms


class Twice(nn.Module):
    """Its convolution is read by the batch norm and by something else."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x)
        out: Tensor = self.last((self.norm(made) + made).mean((2, 3)))
        return out


class Again(Twice):
    """Its convolution and batch norm are used two times."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last((self.norm(self.conv(x)) * self.norm(self.conv(x.flip(3)))).mean((2, 3)))
        return out


class Apart(Twice):
    """Reads the batch norm's weights itself: nothing but a comparison can know."""

    def forward(self, x: Tensor) -> Tensor:
        made = functional.relu(self.norm(self.conv(x)))
        scale = getattr(self.norm, "weight", torch.zeros(4))
        out: Tensor = self.last((made * scale.view(-1, 1, 1)).mean((2, 3)))
        return out


@pytest.mark.parametrize("network", [Twice(), Again(), Apart(), nn.Sequential(nn.Flatten(), nn.Linear(3072, 5))])
def test_what_can_t_be_folded_runs_as_it_is(network: nn.Module) -> None:
    network = trained(network)
    fast = folded(network)
    assert torch.equal(fast(X), network(X))
    assert fast.folded == 0


def test_hooks_are_called() -> None:
    network = trained(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(3600, 5)))
    fast = folded(network)
    fast(X)
    assert fast.folded == 1
    seen: list[Tensor] = []
    handle = network[1].register_forward_hook(lambda _, __, out: seen.append(out))  # type: ignore[index]
    assert torch.equal(fast(X), network(X))
    assert len(seen) == 2
    handle.remove()
    assert not torch.equal(fast(X), network(X))
