"""Networks as CUDA graphs: the same logits and gradients, and the network as it is wherever a graph can't be had."""

from __future__ import annotations

import logging
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from bench import threat_models
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.attacks.parameters import PGDParams
from bench.attacks.pgd import PGD
from bench.models.graphs import ASKED, GraphedNetwork, filled
from bench.models.wrapper import CountedModel

X = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device("cuda")


def small() -> nn.Module:
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5)]
    return nn.Sequential(*layers)


def counted(device: torch.device) -> CountedModel:
    return CountedModel(small(), num_classes=5, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)).to(device)


def test_batches_are_filled_up_to_few_sizes() -> None:
    sizes = [filled(count, 100) for count in range(1, 101)]
    assert sorted(set(sizes)) == [8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 100]
    assert all(size >= count for count, size in enumerate(sizes, start=1))
    assert all(size <= max(8, 1.25 * count) for count, size in enumerate(sizes, start=1))


def test_without_a_gpu_the_network_runs_as_it_is() -> None:
    network = small().eval()
    graphed = GraphedNetwork(network, network, 64)
    for _ in range(ASKED + 1):
        assert torch.equal(graphed(X), network(X))
    assert graphed.failure == ""


@pytest.mark.gpu
@pytest.mark.parametrize("bfloat16", [False, True])
def test_logits_and_gradients_are_the_network_s(device: torch.device, bfloat16: bool) -> None:
    model = counted(device)
    tolerance = 2e-2 if bfloat16 else 1e-5

    def passes(part: Tensor) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bfloat16):
            points = part.clone().requires_grad_()
            logits = model(points)
            found = [torch.autograd.grad(logits[:, k].sum(), points, retain_graph=k < 2)[0] for k in range(3)]
        return logits.detach(), found

    for part in (X.to(device), X[:7].to(device), X[3:33].to(device)):
        logits, gradients = passes(part)
        with model.graphed(64):
            for _ in range(ASKED + 2):
                again, found = passes(part)
        assert torch.allclose(again, logits, atol=tolerance, rtol=tolerance)
        for one, other in zip(found, gradients, strict=True):
            assert float((one - other).norm() / other.norm()) < tolerance
    assert model._graphed is not None
    assert model._graphed.failure == ""
    assert len(model._graphed._graphs) == 3
    assert model.passes.forward == (ASKED + 3) * 77


@pytest.mark.gpu
def test_passes_that_overlap_keep_their_own_gradients(device: torch.device) -> None:
    model = counted(device)
    one, other = X[:16].to(device), X[16:32].to(device)
    expected = [torch.autograd.grad(model(x).sum(), x)[0] for x in (one.requires_grad_(), other.requires_grad_())]
    with model.graphed(16):
        for _ in range(ASKED):
            torch.autograd.grad(model(one).sum(), one)
        first, second = model(one), model(other)
        kept = torch.autograd.grad(first.sum(), one)[0], torch.autograd.grad(second.sum(), other)[0]
    for found, wanted in zip(kept, expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.gpu
def test_a_network_with_hooks_runs_as_it_is(device: torch.device) -> None:
    model, x = counted(device), X.to(device)
    with model.graphed(64), torch.no_grad():
        for _ in range(ASKED + 1):
            plain = model(x)
        handle = model.module[2].register_forward_hook(lambda module, inputs, output: 0 * output)
        changed = model(x)
        handle.remove()
        assert not torch.allclose(changed, plain, atol=1e-3)
        assert torch.allclose(model(x), plain, atol=1e-5)


class Looking(nn.Module):
    """Looks at its values in the middle of a pass, which no graph can record."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits if float(logits.sum()) > -1e9 else -logits


@pytest.mark.gpu
def test_what_can_t_be_recorded_is_said(device: torch.device, caplog: pytest.LogCaptureFixture) -> None:
    model, x = CountedModel(Looking(), num_classes=5).to(device), X.to(device)
    with torch.no_grad():
        expected = model(x)
        with caplog.at_level(logging.WARNING), model.graphed(64):
            found = [model(x) for _ in range(ASKED + 2)]
    assert all(torch.allclose(one, expected, atol=1e-5) for one in found)
    assert "isn't recorded as a CUDA graph" in caplog.text


@pytest.mark.gpu
def test_weights_that_change_are_followed(device: torch.device) -> None:
    changed_weights_are_followed(device)
    weights_changed_between_two_uses_are_followed(device)


def test_folded_weights_follow_the_network_s() -> None:
    changed_weights_are_followed(torch.device("cpu"))
    weights_changed_between_two_uses_are_followed(torch.device("cpu"))


def changed_weights_are_followed(device: torch.device) -> None:
    model, x = counted(device), X.to(device)
    with model.graphed(64), torch.no_grad():
        for _ in range(ASKED + 1):
            model(x)
        before = model(x)
        model.module[4].weight.mul_(2)
        replayed = model(x)
    assert torch.allclose(replayed, model(x), atol=1e-5)
    assert not torch.allclose(replayed, before, atol=1e-3)


def weights_changed_between_two_uses_are_followed(device: torch.device) -> None:
    model, x = counted(device), X.to(device)

    def replayed() -> Tensor:
        model.renew()
        with model.graphed(64):
            for _ in range(ASKED + 1):
                model(x)
            return model(x)

    with torch.no_grad():
        before, kept = replayed(), model._graphed
        assert torch.allclose(replayed(), before)
        assert model._graphed is kept
        model.module[4].weight.mul_(2)
        model.module[1].running_var.data.mul_(3)  # torch's own count of changes doesn't see it
        assert torch.allclose(replayed(), model(x), atol=1e-5)
        assert not torch.allclose(model(x), before, atol=1e-3)
        model.module[0] = nn.Conv2d(3, 8, 3, padding=1, device=device).requires_grad_(False)
        assert torch.allclose(replayed(), model(x), atol=1e-5)


def test_an_attack_on_graphs_sees_weights_that_changed_since_the_last_one() -> None:
    model, x = CountedModel(small(), num_classes=5), X
    context = AttackContext(threat_models.build("linf", Fraction(1, 20)), Draws(0, "pgd"), graphed=True, batch_size=64)

    def attacked(one: CountedModel) -> Tensor:
        with torch.no_grad():
            samples = Samples(x, one(x).argmax(1), tuple(f"a/{row}" for row in range(len(x))))
        return PGD(PGDParams(steps=3)).run(one, samples, context).x_adv

    first = attacked(model)
    with torch.no_grad():
        model.module[1].weight.mul_(-1)
    assert torch.equal(attacked(model), attacked(CountedModel(model.module, num_classes=5)))
    assert not torch.equal(attacked(model), first)
