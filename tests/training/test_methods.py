"""Each training method's points and loss against the paper's formulas written out anew, on small networks."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.suites.spec import AttackSpec
from bench.training import TABLE
from bench.training.attack import Attack
from bench.training.awp import AWP
from bench.training.draws import BatchDraws
from bench.training.fgsm import FGSM
from bench.training.free import Free
from bench.training.mart import MART
from bench.training.method import Step
from bench.training.method_parameters import (
    AttackParams,
    AWPParams,
    FGSMParams,
    FreeParams,
    MARTParams,
    NoiseParams,
    TRADESParams,
)
from bench.training.noise import Noise
from bench.training.seeds import Seeds
from bench.training.standard import Standard, StandardParams
from bench.training.trades import TRADES

EPS = Fraction(1, 10)


def network(*, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)]
    if norm:
        layers.insert(1, nn.BatchNorm2d(4))
    return nn.Sequential(*layers).train()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def y() -> Tensor:
    return torch.tensor([0, 1, 2, 0, 1, 2])


def step(count: int = 6, *, strength: float = 1.0, smoothing: float = 0.0, epochs_done: float = 5.0) -> Step:
    draws = BatchDraws(Seeds(0).generator("method"), count, 0, count, torch.device("cpu"))
    return Step(epochs_done, 20, draws, smoothing, strength)


def drawn(kind: str, *shape: int) -> Tensor:
    """The numbers that a method's first draw in ``step()`` gives."""
    generator = Seeds(0).generator("method")
    return torch.rand(shape, generator=generator) if kind == "uniform" else torch.randn(shape, generator=generator)


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    at = x.clone().requires_grad_()
    F.cross_entropy(model(at), y).backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    assert at.grad is not None
    return at.grad


@pytest.mark.parametrize("alpha", [None, Fraction(1, 20)])
def test_fgsm_is_one_signed_step_from_a_random_point(x: Tensor, y: Tensor, alpha: Fraction | None) -> None:
    model = network()
    x_adv = FGSM(FGSMParams(name="fgsm", eps=EPS, alpha=alpha)).examples(model, x, y, step=step())
    start = (x + (2 * drawn("uniform", *x.shape) - 1) * 0.1).clamp(0, 1)
    size = 0.125 if alpha is None else 0.05
    delta = (start + size * gradient(model, start, y).sign() - x).clamp(-0.1, 0.1)
    torch.testing.assert_close(x_adv, (x + delta).clamp(0, 1))
    assert model.training


def test_without_projection_it_is_n_fgsm(x: Tensor, y: Tensor) -> None:
    model = network()
    params = FGSMParams(name="fgsm", eps=EPS, alpha=EPS, noise=2, project=False)
    x_adv = FGSM(params).examples(model, x, y, step=step())
    start = (x + (2 * drawn("uniform", *x.shape) - 1) * 0.2).clamp(0, 1)
    torch.testing.assert_close(x_adv, (start + 0.1 * gradient(model, start, y).sign()).clamp(0, 1))
    assert (x_adv - x).abs().max() > 0.15


def test_fgsm_tells_when_the_accuracy_under_pgd_collapses(x: Tensor, y: Tensor) -> None:
    class Masked(nn.Module):
        """Right on every image, until it is told to be wrong."""

        wrong = False

        def forward(self, at: Tensor) -> Tensor:
            return F.one_hot((y + self.wrong) % 3, 3).float() + 0 * at.flatten(1)[:, :3]

    model, method = Masked().eval(), FGSM(FGSMParams(name="fgsm", eps=EPS))
    assert method.watch(model, x, y, step=step()) is None
    assert method.watch(model, x, y, step=step()) is None
    again = FGSM(FGSMParams(name="fgsm", eps=EPS))
    again.restore(method.state())
    model.wrong = True
    warning = again.watch(model, x, y, step=step())
    assert warning is not None
    assert "catastrophic overfitting: accuracy under PGD-5 fell from 100.0% to 0.0%" in warning
    assert again.watch(model, x, y, step=step()) is None
    patient = FGSM(FGSMParams(name="fgsm", eps=EPS, collapse=1))
    patient.restore(method.state())
    assert patient.watch(model, x, y, step=step()) is None


class Cornered(nn.Module):
    """Right far from the images, where a single long step always ends; wrong near them."""

    def __init__(self, x: Tensor, y: Tensor, eps: float) -> None:
        super().__init__()
        self.x, self.y, self.near = x, y, 0.97 * eps
        self.norm = nn.BatchNorm1d(1)

    def forward(self, at: Tensor) -> Tensor:
        wrong = (at - self.x).abs().flatten(1).mean(1) < self.near
        slope = self.norm(at.flatten(1).mean(1, keepdim=True))
        return F.one_hot((self.y + wrong) % 3, 3).float() - F.one_hot(self.y, 3) * 1e-3 * slope


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_fgsm_tells_where_its_own_step_finds_less_than_pgd(y: Tensor, strength: float) -> None:
    x, here = torch.full((len(y), 1, 12, 12), 0.5), step()._replace(strength=strength)
    model = Cornered(x, y, float(EPS) * strength).eval()
    method = FGSM(FGSMParams(name="fgsm", eps=EPS, alpha=10 * EPS, collapse=1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    said = method.watch(model, x, y, step=here)
    assert (
        said == "catastrophic overfitting: accuracy under PGD-5 is 0.0%, and 100.0% under the one step of the training"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (
        FGSM(FGSMParams(name="fgsm", eps=EPS, alpha=10 * EPS, collapse=1, gap=1)).watch(model, x, y, step=here) is None
    )


def test_trades_climbs_the_divergence_and_adds_it(x: Tensor, y: Tensor) -> None:
    model = network(norm=True)
    method = TRADES(TRADESParams(name="trades", eps=EPS, steps=3, beta=4, alpha=Fraction(1, 25)))
    x_adv = method.examples(model, x, y, step=step())

    model.eval()
    at, clean = x + 0.001 * drawn("normal", *x.shape), model(x).softmax(1).detach()
    for _ in range(3):
        at = at.detach().requires_grad_()
        nn.KLDivLoss(reduction="sum")(model(at).log_softmax(1), clean).backward()
        assert at.grad is not None
        at = torch.min(torch.max(at.detach() + 0.04 * at.grad.sign(), x - 0.1), x + 0.1).clamp(0, 1)
    torch.testing.assert_close(x_adv, at)

    model.train()
    found = method.loss(model, x, x_adv, y, step=step(smoothing=0.1))
    natural, adversarial = model(x), model(x_adv)
    robust = nn.KLDivLoss(reduction="sum")(adversarial.log_softmax(1), natural.softmax(1)) / len(x)
    torch.testing.assert_close(found.loss, F.cross_entropy(natural, y, label_smoothing=0.1) + 4 * robust)
    assert found.logits is not None
    torch.testing.assert_close(found.logits, adversarial)


def test_marts_loss_is_that_of_the_paper(x: Tensor, y: Tensor) -> None:
    model = network()
    method = MART(MARTParams(name="mart", eps=EPS, steps=2, beta=5))
    x_adv = method.examples(model, x, y, step=step())
    assert float((x_adv - x).abs().max()) == pytest.approx(0.1, abs=1e-6)

    found = float(method.loss(model, x, x_adv, y, step=step()).loss.detach())
    with torch.no_grad():
        p, q = (model(at).double().softmax(1).numpy() for at in (x, x_adv))
    total = 0.0
    for row, label in enumerate(y.tolist()):
        second = max(q[row, k] for k in range(3) if k != label)
        divergence = sum(p[row, k] * np.log(p[row, k] / q[row, k]) for k in range(3))
        total += -np.log(q[row, label]) - np.log(1 - second) + 5 * divergence * (1 - p[row, label])
    assert found == pytest.approx(total / len(x), rel=1e-5)


def test_marts_gradient_stays_where_a_wrong_class_is_certain(x: Tensor, y: Tensor) -> None:
    logits = torch.tensor([[0.0, 200.0, 0.0]], requires_grad=True)

    class Fixed(nn.Module):
        def forward(self, at: Tensor) -> Tensor:
            return logits

    method = MART(MARTParams(name="mart", eps=EPS, beta=0))
    method.loss(Fixed(), x[:1], x[:1], y[:1], step=step(1)).loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    # -log p(0) - log(1 - p(1)), with p(1) = 1 in float32: both pull at the wrong class.
    torch.testing.assert_close(logits.grad, torch.tensor([[-1.5, 2.0, -0.5]]))


def test_free_training_moves_the_perturbations_by_the_updates_own_gradient(x: Tensor, y: Tensor) -> None:
    x = torch.where(x < 0.2, 0.0, x)
    model, method = network(), Free(FreeParams(name="free", eps=EPS, replays=3, alpha=Fraction(1, 20)))
    assert method.updates == 3
    delta = torch.zeros_like(x)
    for _ in range(4):
        leaf = delta.clone().requires_grad_()
        F.cross_entropy(model((x + leaf).clamp(0, 1)), y).backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        model.zero_grad()
        x_adv = method.examples(model, x, y, step=step())
        torch.testing.assert_close(x_adv.detach(), (x + delta).clamp(0, 1))
        method.loss(model, x, x_adv, y, step=step()).loss.backward()  # type: ignore[no-untyped-call]
        method.after_backward(x_adv, step=step())
        delta = (delta + 0.05 * leaf.grad.sign()).clamp(-0.1, 0.1)
        torch.testing.assert_close(method.state()["delta"], delta)
    assert (delta < 0).any()
    resumed = Free(method.params)
    resumed.restore(method.state())
    torch.testing.assert_close(resumed.examples(model, x, y, step=step()), method.examples(model, x, y, step=step()))


def test_free_training_keeps_a_perturbation_for_each_place_of_the_batch(x: Tensor, y: Tensor) -> None:
    model, whole, parts = network(), *(Free(FreeParams(name="free", eps=EPS)) for _ in range(2))
    for rows in (slice(0, 6), slice(0, 4)):
        place = step(len(x[rows]))
        at = whole.examples(model, x[rows], y[rows], step=place)
        F.cross_entropy(model(at), y[rows], reduction="sum").backward()  # type: ignore[no-untyped-call]
        whole.after_backward(at, step=place)
        for first in range(0, len(x[rows]), 2):
            piece = slice(first, first + 2)
            cut = place._replace(draws=place.draws.of(first, 2))
            at = parts.examples(model, x[piece], y[piece], step=cut)
            F.cross_entropy(model(at), y[piece], reduction="sum").backward()  # type: ignore[no-untyped-call]
            parts.after_backward(at, step=cut)
        torch.testing.assert_close(whole.state()["delta"], parts.state()["delta"])


def test_noise_has_the_stated_level_and_is_clamped_where_asked() -> None:
    x, y = torch.full((200, 1, 30, 30), 0.1), torch.zeros(200, dtype=torch.int64)
    free = Noise(NoiseParams(name="noise", std=0.3)).examples(network(), x, y, step=step(200))
    assert float((free - x).std()) == pytest.approx(0.3, rel=0.01)
    assert float(free.min()) < -0.5
    clamped = Noise(NoiseParams(name="noise", std=0.3, clamp=True)).examples(network(), x, y, step=step(200))
    torch.testing.assert_close(clamped, free.clamp(0, 1))
    ranged = Noise(NoiseParams(name="noise", std=0.3, std_min=0.1)).examples(network(), x, y, step=step(200))
    levels = (ranged - x).flatten(1).std(1)
    assert 0.09 < float(levels.min()) < 0.12
    assert 0.28 < float(levels.max()) < 0.32


@pytest.mark.parametrize(
    ("norm", "spec"),
    [
        ("linf", {"name": "apgd", "steps": 5}),
        ("l2", {"name": "apgd", "steps": 5}),
        ("l2", {"name": "ddn", "steps": 5}),
        ("linf", {"name": "foolbox.LinfPGD"}),
    ],
)
def test_any_attack_of_a_suite_trains(x: Tensor, y: Tensor, norm: Any, spec: dict[str, Any]) -> None:
    model = network(norm=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    method = Attack(AttackParams(name="attack", attack=AttackSpec.model_validate(spec), norm=norm, eps=EPS))
    x_adv = method.examples(model, x, y, step=step())
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    moved = (x_adv - x).flatten(1)
    size = moved.abs().amax(1) if norm == "linf" else moved.norm(dim=1)
    assert float(size.max()) <= 0.1 + 1e-5
    assert not x_adv.requires_grad
    model.eval()
    worse = F.cross_entropy(model(x_adv), y, reduction="none") - F.cross_entropy(model(x), y, reduction="none")
    assert float(worse.detach().mean()) > 0
    model.train()
    assert torch.equal(method.examples(model, x, y, step=step()), x_adv)


def test_awp_moves_each_layer_by_its_norm_along_the_gradient_and_back(x: Tensor, y: Tensor) -> None:
    model, method = network(norm=True), Standard(StandardParams(name="standard"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    model.load_state_dict(before)
    awp = AWP(AWPParams(gamma=0.02, warmup=2))
    with awp.perturbed(model, method, x, x, y, step=step()):
        for name, tensor in model.state_dict().items():
            expected, slope = before[name], gradients.get(name)
            if expected.dim() > 1:
                assert slope is not None
                expected = expected + 0.02 * expected.norm() * slope / slope.norm()
            torch.testing.assert_close(tensor, expected)
        assert all(parameter.grad is None for parameter in model.parameters())
        method.loss(model, x, x, y, step=step()).loss.backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert all(parameter.grad is not None for parameter in model.parameters())
    with awp.perturbed(model, method, x, x, y, step=step(epochs_done=1.9)):
        assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_awp_is_seen_by_a_pass_in_bfloat16(x: Tensor, y: Tensor) -> None:
    model, method = network(), Standard(StandardParams(name="standard"))
    with torch.autocast("cpu", torch.bfloat16):
        clean = float(method.loss(model, x, x, y, step=step()).loss.detach())
        with AWP(AWPParams(gamma=0.3)).perturbed(model, method, x, x, y, step=step()):
            moved = float(method.loss(model, x, x, y, step=step()).loss.detach())
        assert moved > clean + 0.05
        assert float(method.loss(model, x, x, y, step=step()).loss.detach()) == clean


def test_every_method_has_a_name_and_parameters_of_its_own() -> None:
    for name, entry in TABLE.items():
        assert entry.params is not None
        assert entry.params.model_fields["name"].annotation.__args__ == (name,)  # type: ignore[union-attr]
