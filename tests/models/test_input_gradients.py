"""Gradients at the input of convolutions with few input channels."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.models import input_gradients
from bench.models.input_gradients import PRODUCTS, fast_input_gradients, input_gradient
from bench.models.wrapper import CountedModel

PAIRS = st.tuples(st.integers(1, 5), st.integers(1, 5))


@settings(max_examples=150, deadline=None)
@given(
    channels=st.integers(1, 8),
    kernels=st.integers(1, 4),
    kernel=PAIRS,
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    more=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    last=st.booleans(),
)
def test_it_is_the_gradient_of_torch(
    channels: int,
    kernels: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    more: tuple[int, int],
    last: bool,
) -> None:
    height, width = (side + beyond for side, beyond in zip(kernel, more, strict=True))
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, height, width, dtype=torch.float64, generator=draws).requires_grad_()
    weight = torch.randn(kernels, channels, *kernel, dtype=torch.float64, generator=draws)
    output = F.conv2d(x, weight, None, stride, padding)
    gradient = torch.randn(output.shape, dtype=torch.float64, generator=draws)
    if last:
        gradient = gradient.contiguous(memory_format=torch.channels_last)
    expected = torch.autograd.grad(output, x, gradient)[0]
    ours = input_gradient(gradient, weight, (height, width), stride=stride, padding=padding)
    torch.testing.assert_close(ours, expected, atol=1e-10, rtol=1e-10)


class Small(nn.Module):
    """A strided convolution on an image, another one behind it, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.linear = nn.Linear(1024, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, 10)."""
        return self.linear(self.second(self.first(x).relu_()).relu().flatten(1))


class Frugal(Small):
    """The same, with parts of its passes computed twice to save memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, 10)."""
        x = checkpoint(lambda x: self.second(self.first(x).relu()).relu(), x, use_reentrant=False)
        return self.linear(x.flatten(1))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the kernels whose gradients at the input were computed here."""
    shapes: list[tuple[int, ...]] = []

    def noted(gradient: Tensor, weight: Tensor, *rest: object, **more: object) -> Tensor:
        shapes.append(tuple(weight.shape))
        return input_gradient(gradient, weight, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(input_gradients, "input_gradient", noted)
    return shapes


def images(count: int = 80) -> Tensor:
    """Enough of them for the faster way."""
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def plain(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and gradients of the network itself."""
    x = x.clone().requires_grad_()
    logits = network(x)
    return logits, torch.autograd.grad(logits.logsumexp(1).sum(), x)[0]


def model_of(network: nn.Module) -> CountedModel:
    return CountedModel(network, num_classes=10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_model_gives_the_same_logits_and_gradients(layout: torch.memory_format, calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    network = Small().to(memory_format=layout)  # type: ignore[call-overload]
    model, x = model_of(network), images().contiguous(memory_format=layout)
    logits, gradient = plain(model, x)
    assert calls == [(16, 8, 3, 3), (8, 3, 3, 3)]
    expected_logits, expected = plain(network, x)
    assert torch.equal(logits, expected_logits)
    assert gradient.stride() == expected.stride()
    torch.testing.assert_close(gradient, expected, atol=1e-7, rtol=1e-5)
    assert not any("_conv_forward" in part.__dict__ for part in network.modules())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_weights_that_change_behind_torchs_back_are_followed(
    layout: torch.memory_format, calls: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    network = Small()
    model, x = model_of(network), images().contiguous(memory_format=layout)
    before = plain(model, x)[1]
    network.first.weight.data.mul_(-2)  # its version stays the same
    network.second.weight = nn.Parameter(network.second.weight.flip(0), requires_grad=False)
    found = plain(model, x)[1]
    assert len(calls) == 4
    assert not torch.allclose(found, before, atol=1e-4)
    torch.testing.assert_close(found, plain(network, x)[1], atol=1e-7, rtol=1e-5)


def test_what_is_kept_of_a_convolution_goes_with_it(calls: list[tuple[int, ...]]) -> None:
    network = Small()
    plain(model_of(network), images())
    assert len(calls) == 2
    assert network.first in input_gradients._caches
    gone = weakref.ref(network.first)
    del network
    gc.collect()
    assert gone() is None


def test_bfloat16_goes_through_it_too(calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    network = Small()
    model = model_of(network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, gradient = plain(model, images())
        assert len(calls) == 2
        expected_logits, expected = plain(network, images())
    assert torch.equal(logits, expected_logits.float())
    assert gradient.dtype is torch.float32
    assert float((gradient - expected).norm() / expected.norm()) < 0.01


def test_a_network_that_computes_parts_again_gives_its_gradients(calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    network = Frugal()
    model = model_of(network)
    torch.testing.assert_close(plain(model, images())[1], plain(network, images())[1], atol=1e-7, rtol=1e-5)
    assert len(calls) == 2


def test_pieces_of_a_pass_go_through_it(calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    model = model_of(Small())
    whole = plain(model, images(160))[1]
    model.microbatch = 80
    torch.testing.assert_close(plain(model, images(160))[1], whole, atol=1e-7, rtol=1e-5)
    assert len(calls) == 2 + 2 * 2


def test_second_derivatives_are_those_of_torch() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, 2, 1).requires_grad_(False)
    x, direction = images().requires_grad_(), torch.rand(80, 3, 32, 32)

    def curvature() -> Tensor:
        first = torch.autograd.grad(conv(x).pow(3).sum(), x, create_graph=True)[0]
        return torch.autograd.grad((first * direction).sum(), x)[0]

    expected = curvature()
    with fast_input_gradients(conv):
        torch.testing.assert_close(curvature(), expected, atol=1e-4, rtol=1e-4)


def test_transforms_of_torch_func_work() -> None:
    torch.manual_seed(0)
    model = model_of(Small())
    expected = plain(model.module, images())[1]
    found = torch.func.grad(lambda x: model(x).logsumexp(1).sum())(images())
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of the compiler itself
def test_compiled_networks_are_left_alone(calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    network = Small()
    expected = plain(network, images())[1]
    found = plain(model_of(torch.compile(network, backend="eager")), images())[1]  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected)
    assert not calls


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(3, 8, 3, groups=1, dilation=2),
        nn.Conv2d(4, 8, 3, groups=2),
        nn.Conv2d(3, 8, 3, padding="same"),
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(5, 8, 3),
        nn.Conv2d(9, 8, 3, stride=2),
    ],
    ids=["dilated", "groups", "same", "reflect", "1x1", "5 channels", "9 channels"],
)
def test_others_are_left_alone(conv: nn.Conv2d, calls: list[tuple[int, ...]]) -> None:
    conv.requires_grad_(False)
    x = torch.rand(600, conv.in_channels, 32, 32)
    expected = plain(nn.Sequential(conv, nn.Flatten()), x)[1]
    with fast_input_gradients(conv):
        found = plain(nn.Sequential(conv, nn.Flatten()), x)[1]
    torch.testing.assert_close(found, expected)
    assert not calls


def test_weights_in_training_get_their_gradients(calls: list[tuple[int, ...]]) -> None:
    conv = nn.Conv2d(3, 8, 3, 2, 1)
    with fast_input_gradients(conv):
        conv(images().requires_grad_()).sum().backward()
    assert conv.weight.grad is not None
    assert float(conv.weight.grad.abs().max()) > 0
    assert not calls


def test_few_images_go_the_usual_way(calls: list[tuple[int, ...]]) -> None:
    torch.manual_seed(0)
    model = model_of(Small())
    products = 3 * 32 * 32 * 8 * 9 // 4
    plain(model, images(PRODUCTS // products))
    assert (8, 3, 3, 3) not in calls
    plain(model, images(PRODUCTS // products + 1))
    assert (8, 3, 3, 3) in calls


def test_a_convolution_of_somebody_else_stays_theirs() -> None:
    conv = nn.Conv2d(3, 8, 3, 2, 1).requires_grad_(False)
    theirs = lambda x, weight, bias: 2 * F.conv2d(x, weight, bias, 2, 1)  # noqa: E731
    conv._conv_forward = theirs  # type: ignore[method-assign]
    with fast_input_gradients(conv):
        assert conv._conv_forward is theirs
    assert conv._conv_forward is theirs


def test_an_error_leaves_the_network_as_it_was() -> None:
    conv = nn.Conv2d(3, 8, 3).requires_grad_(False)
    with pytest.raises(RuntimeError, match="channels"), fast_input_gradients(conv):
        conv(torch.rand(2, 5, 8, 8))
    assert "_conv_forward" not in conv.__dict__
