"""The wrapper: normalisation, counting, pieces, and what it refuses."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.errors import ModelError
from bench.models.architectures.resnet18 import resnet18
from bench.models.wrapper import CountedModel, PassCount

X = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def linear(classes: int = 5) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, classes))


class Gives(nn.Module):
    """Gives whatever a function makes of the images."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def test_normalisation_is_inside() -> None:
    network = linear()
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    model = CountedModel(network, num_classes=5, mean=mean, std=std)
    shape = (1, 3, 1, 1)
    expected = network((X - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape))
    assert torch.equal(model(X), expected)


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,), None), (None, (0.5,)), ((0.1, 0.2), (0.5,)), ((0.5,), (0.0,)), ((0.5,), (-1.0,))]
)
def test_mean_and_std_go_together(mean: Any, std: Any) -> None:
    with pytest.raises(ModelError, match=r"mean and std|std: "):
        CountedModel(linear(), num_classes=5, mean=mean, std=std)


def test_it_stays_in_eval_mode_and_its_parameters_frozen() -> None:
    model = CountedModel(nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Dropout(0.9)), num_classes=5)
    model.train()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(model(X), model(X))


def test_forward_and_backward_passes_are_counted_per_sample() -> None:
    model = CountedModel(linear(), num_classes=5)
    x = X.clone().requires_grad_()
    logits = model(x)
    assert model.passes.snapshot() == PassCount(6, 0)
    torch.autograd.grad(logits[:, 0].sum(), x, retain_graph=True)
    torch.autograd.grad(logits[:, 1].sum(), x)
    assert model.passes.snapshot() == PassCount(6, 12)
    model(x)
    with torch.no_grad():
        model(x[:2])
    model(X[:1])
    assert model.passes.snapshot() == PassCount(15, 12)
    model.passes.reset()
    assert model.passes.snapshot() == PassCount(0, 0)


def test_no_hook_where_no_gradient_can_come_back() -> None:
    model = CountedModel(linear(), num_classes=5)
    assert model(X)._backward_hooks is None
    with torch.no_grad():
        assert model(X.clone().requires_grad_())._backward_hooks is None


def test_a_hook_does_not_keep_the_model_alive() -> None:
    model = CountedModel(linear(), num_classes=5)
    logits = model(X.clone().requires_grad_())
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    logits.sum().backward()


def test_the_count_survives_attacks_that_change_logits_in_place() -> None:
    model = CountedModel(linear(), num_classes=5)
    x = X.clone().requires_grad_()
    logits = model(x)
    logits[:, 0] -= 1e4
    logits.max(1).values.sum().backward()
    assert model.passes.backward == 6


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(1, 6))
def test_pieces_give_the_same_logits_gradients_and_counts(piece: int, count: int) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    model = CountedModel(network, num_classes=5, mean=(0.5,), std=(0.25,))
    results = []
    for microbatch in (None, piece):
        model.microbatch = microbatch
        model.passes.reset()
        x = X[:count].clone().requires_grad_()
        logits = model(x)
        (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), x)
        results.append((logits.detach(), gradient, model.passes.snapshot()))
    (logits, gradient, passes), (logits2, gradient2, passes2) = results
    torch.testing.assert_close(logits2, logits, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient2, gradient, rtol=1e-5, atol=1e-6)
    assert passes == passes2 == PassCount(count, count)


def test_pieces_keep_fewer_activations() -> None:
    model = CountedModel(resnet18(), num_classes=10)
    x = torch.rand(8, 3, 32, 32).requires_grad_()
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    totals = []
    for microbatch in (None, 2):
        model.microbatch = microbatch
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(x)
        totals.append(sum(kept))
    assert totals[1] < totals[0] / 10


def test_logits_are_float32_under_autocast() -> None:
    model = CountedModel(linear(), num_classes=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.module(X).dtype == torch.bfloat16
        assert model(X).dtype == torch.float32


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (lambda x: x.flatten(1)[:, :5] * float("nan"), "gives NaN for 6 of 6 images"),
        (lambda x: torch.where(torch.arange(6)[:, None] == 2, torch.inf, x.flatten(1)[:, :5]), "infinite logits for 1"),
        (lambda x: x.flatten(1)[:, :7], "gives 7 logits, the dataset has 5 classes"),
        (lambda x: x.flatten(1)[:, :5].argmax(1), "gives torch.int64"),
        (lambda x: x.flatten(1)[:, :5].sum(1), r"an output of shape \(6,\) for 6 images"),
        (lambda x: x[:, :, :, 0], r"shape \(6, 3, 4\)"),
        (lambda x: x.flatten(1)[:1, :5], r"shape \(1, 5\) for 6 images"),
        (lambda x: (x.flatten(1)[:, :5],), "gives tuple, not a tensor"),
        (lambda x: {"logits": x}, "gives dict, not a tensor"),
        (lambda x: x.flatten(1) @ torch.ones(7, 5), r"raises RuntimeError on images of shape \(6, 3, 4, 4\): mat1"),
        (lambda x: x.nonsense(), "raises AttributeError"),
        (lambda x: 1 / 0, "raises ZeroDivisionError"),
    ],
)
def test_check_names_what_it_saw(function: Any, seen: str) -> None:
    with pytest.raises(ModelError, match=seen):
        CountedModel(Gives(function), num_classes=5).check(X)


def test_check_lets_exhausted_memory_through() -> None:
    def exhausted(x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        CountedModel(Gives(exhausted), num_classes=5).check(X)


def test_check_counts_nothing() -> None:
    model = CountedModel(linear(), num_classes=5)
    model.check(X)
    assert model.looks_like_probabilities(X) is False
    assert model.passes.snapshot() == PassCount(0, 0)


def test_probabilities_are_noticed() -> None:
    softmax = CountedModel(nn.Sequential(linear(), nn.Softmax(1)), num_classes=5)
    softmax.check(X)
    assert softmax.looks_like_probabilities(X) is True
    assert CountedModel(nn.Sequential(linear(), nn.LogSoftmax(1)), num_classes=5).looks_like_probabilities(X) is False
    assert CountedModel(nn.Sequential(linear(), nn.Sigmoid()), num_classes=5).looks_like_probabilities(X) is False


def test_the_overhead_of_counting_is_small() -> None:
    """A pass through the wrapper adds a few operations that don't grow with the network."""
    network = linear().eval().requires_grad_(False)
    model = CountedModel(network, num_classes=5)
    x = X.clone().requires_grad_()
    names = []
    for forward in (network, model):
        with torch.profiler.profile() as profile:
            torch.autograd.grad(forward(x).sum(), x)
        names.append(sum(event.count for event in profile.key_averages()))
    assert names[1] - names[0] <= 10
