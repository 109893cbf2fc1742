"""Models whose clean passes show layers in training mode, or gradients that they take for themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad as imported_grad
from torch.nn import functional

import bench
from bench import datasets
from bench.defenses.base import Purifier
from bench.defenses.defended import DefendedModel
from bench.models.wrapper import CountedModel
from bench.runner.probe import Probe
from bench.runner.run import RunSummary
from bench.store.records import Flag
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

X = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
CARLINI = "Carlini et al. 2019, arXiv:1902.06705"


class Net(nn.Module):
    """A linear model behind a layer."""

    def __init__(self, layer: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Identity() if layer is None else layer
        self.linear = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.layer(x).flatten(1))


def stubborn(layer: nn.Module) -> nn.Module:
    """The layer in training mode, whatever it is told."""
    layer.train()
    layer.train = lambda mode=True: layer  # type: ignore[method-assign, assignment]
    return layer


def flags(network: nn.Module) -> list[Flag]:
    return list(Probe(CountedModel(network, num_classes=3), X).flags)


def rules(found: list[Flag]) -> set[tuple[str, str]]:
    return {(flag.rule, flag.severity) for flag in found}


def frozen() -> nn.BatchNorm2d:
    """Leaves no trace in its buffers."""
    layer = nn.BatchNorm2d(1, momentum=0.0)
    layer.num_batches_tracked = None
    return layer


# -- training mode -----------------------------------------------------------------------------------------------------

INVALID: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Dropout(0.5),
    "dropout of channels": lambda: nn.Dropout2d(0.3),
    "alpha dropout": lambda: nn.AlphaDropout(0.2),
    "batch norm": frozen,
    "batch norm that counts": lambda: nn.BatchNorm2d(1),
}


@pytest.mark.parametrize("what", INVALID)
def test_layers_that_ignore_eval_make_the_number_invalid(what: str) -> None:
    layer = INVALID[what]()
    found = [flag for flag in flags(Net(stubborn(layer))) if flag.rule == "training-mode"]
    name = type(layer).__name__
    text = (
        f"module.layer ({name}) is in training mode, though the model is told to evaluate (eval()): what is judged is another "
        "model than the one that is used"
    )
    assert found == [Flag(rule="training-mode", severity="invalid", message=text, source=CARLINI)]


def test_a_layer_that_is_switched_on_inside_the_pass() -> None:
    class Mine(Net):
        def forward(self, x: Tensor) -> Tensor:
            self.layer.train()
            logits = super().forward(x)
            self.layer.eval()
            return logits

    assert ("training-mode", "invalid") in rules(flags(Mine(nn.Dropout(0.5))))


def test_statistics_of_the_batch_are_a_warning() -> None:
    layers = [nn.BatchNorm2d(1, track_running_stats=False) for _ in range(5)]
    found = [flag for flag in flags(Net(nn.Sequential(*layers))) if flag.rule == "training-mode"]
    names = ", ".join(f"module.layer.{number} (BatchNorm2d)" for number in range(3))
    text = f"{names} and 2 more are without running statistics: the verdict on an image depends on its batch"
    assert found == [Flag(rule="training-mode", severity="warning", message=text, source=CARLINI)]
    assert ("batch-dependent", "warning") in rules(flags(Net(nn.Sequential(*layers))))


class Unused(Net):
    def __init__(self) -> None:
        super().__init__()
        self.head = stubborn(nn.Dropout(0.5))


ORDINARY: dict[str, Callable[[], nn.Module]] = {
    "plain": Net,
    "batch norm": lambda: Net(nn.BatchNorm2d(1)),
    "dropout": lambda: Net(nn.Sequential(nn.Dropout(0.5), nn.Dropout2d(0.5), nn.AlphaDropout(0.5))),
    "instance norm": lambda: Net(nn.InstanceNorm2d(1)),
    "stubborn instance norm": lambda: Net(stubborn(nn.InstanceNorm2d(1))),
    "layer norm": lambda: Net(stubborn(nn.LayerNorm([1, 4, 4]))),
    "dropout of nothing": lambda: Net(stubborn(nn.Dropout(0.0))),
    "never called": Unused,
}


@pytest.mark.parametrize("what", ORDINARY)
def test_ordinary_models_are_not_flagged(what: str) -> None:
    assert flags(ORDINARY[what]()) == []


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's compiler looks at it
def test_compiled_models_are_left_alone() -> None:
    layers = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5))
    assert flags(torch.compile(Net(layers), backend="eager")) == []  # type: ignore[arg-type]
    assert not any(module._forward_pre_hooks for module in layers.modules())


class Denoise(Purifier):
    """Holds a network that isn't part of the defended model's modules."""

    differentiable = True

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(None)
        self.networks = [nn.Sequential(*layers)]

    def purify(self, x: Tensor) -> Tensor:
        return self.networks[0](x)


class Dice(Denoise):
    stochastic: ClassVar[bool] = True


def test_networks_of_defenses_are_looked_at_and_the_bare_model_once() -> None:
    bare = CountedModel(Net(stubborn(frozen())), num_classes=3)
    defended = DefendedModel(bare, [Denoise(nn.Identity(), stubborn(frozen()))])
    messages = [flag.message for flag in Probe(defended, X, bare).flags if flag.rule == "training-mode"]
    assert [message.partition(" is in")[0] for message in messages] == ["Denoise.networks.1 (BatchNorm2d)"]
    assert "training-mode" not in {flag.rule for flag in Probe(DefendedModel(bare, [Denoise()]), X, bare).flags}


def test_dropout_may_be_the_randomness_that_a_defense_declares() -> None:
    bare = CountedModel(Net(), num_classes=3)
    for defense, expected in ((Denoise, 1), (Dice, 0)):
        defended = DefendedModel(bare, [defense(stubborn(nn.Dropout(0.5)))])
        found = [flag for flag in Probe(defended, X, bare).flags if flag.rule == "training-mode"]
        assert len(found) == expected


def test_the_probe_leaves_no_hook() -> None:
    network = Net(stubborn(nn.Dropout(0.5)))
    flags(network)
    assert not any(module._forward_pre_hooks for module in network.modules())


# -- gradients inside --------------------------------------------------------------------------------------------------


class Refined(Net):
    """Moves the image to where the model is surer of it, before it answers."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            z = x.detach().requires_grad_()
            if self.way == "torch.func":
                return super().forward(x - 0.1 * torch.func.grad(self.energy)(z))
            energy = self.energy(z)
            if self.way == "Tensor.backward":
                energy.backward()  # type: ignore[no-untyped-call]
            elif self.way == "autograd.backward":
                torch.autograd.backward([energy])
            else:
                z.grad = (torch.autograd.grad if self.way == "autograd.grad" else imported_grad)(energy, z)[0]
        assert z.grad is not None
        return super().forward(x - 0.1 * z.grad)

    def energy(self, z: Tensor) -> Tensor:
        return -super().forward(z).logsumexp(1).sum()


WAYS = ["autograd.grad", "imported", "Tensor.backward", "autograd.backward", "torch.func"]


@pytest.fixture
def untouched() -> Iterator[None]:
    """What torch offers for gradients is the same afterwards."""
    places = [(torch.autograd, "grad"), (torch.autograd, "backward"), (torch.Tensor, "backward")]
    places.append((torch.autograd, "_engine_run_backward"))
    before = [getattr(*place) for place in places]
    yield
    assert [getattr(*place) for place in places] == before


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_optimises_at_test_time_is_flagged(way: str) -> None:
    network = Refined(way)
    found = flags(network)
    assert rules(found) == {("test-time-optimisation", "warning")}
    assert "BPDA" in found[0].message
    assert found[0].source == "Tramer et al. 2020, arXiv:2002.08347; Croce et al. 2022, arXiv:2202.13711"
    plain = CountedModel(Refined("autograd.grad"), num_classes=3)
    assert torch.allclose(CountedModel(network, num_classes=3)(X), plain(X))


@pytest.mark.usefixtures("untouched")
def test_gradients_that_are_taken_where_an_attack_takes_them_only() -> None:
    class Sly(Net):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            if x.requires_grad:
                torch.autograd.grad(logits.sum(), x, retain_graph=True)
            return logits

    assert rules(flags(Sly())) == {("test-time-optimisation", "warning")}


@pytest.mark.usefixtures("untouched")
def test_a_defense_that_optimises_at_test_time_is_flagged() -> None:
    class Search(Purifier):
        differentiable = False

        def purify(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                z = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad((z**2).sum(), z)
            return (x - 0.01 * slope).clamp(0, 1)

    bare = CountedModel(Net(), num_classes=3)
    assert rules(list(Probe(bare, X).flags)) == set()
    assert rules(list(Probe(DefendedModel(bare, [Search(None)]), X, bare).flags)) == {
        ("test-time-optimisation", "warning")
    }


@pytest.mark.usefixtures("untouched")
def test_a_pass_that_raises_leaves_torch_as_it_was() -> None:
    class Broken(Net):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        flags(Broken())


def test_what_an_attack_does_with_the_model_is_no_optimisation_of_the_model() -> None:
    model = CountedModel(Net(), num_classes=3)
    probe = Probe(model, X)
    x = X.clone().requires_grad_()
    torch.autograd.grad(functional.cross_entropy(model(x), torch.tensor([0, 1])), x)
    assert probe.changed() == ""
    assert probe.flags == ()


# -- whole runs --------------------------------------------------------------------------------------------------------

PLUGIN = """
import torch
from torch import nn


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.linear = nn.BatchNorm2d(1{}), nn.Linear(784, 10)

    def train(self, mode=True):
        super().train(mode)
        {}
        return self

    def forward(self, x):
        {}
        return self.linear(self.norm(x).flatten(1))


MODELS = {{"mine": Mine}}
ATTACKS = {{"mine": object}}
"""
REFINE = "x = x - 0.01 * torch.func.grad(lambda z: self.linear(z.flatten(1)).logsumexp(1).sum())(x)"
RUNS = {
    "ordinary": (("", "pass", "pass"), set()),
    "batch": ((", track_running_stats=False", "pass", "pass"), {("training-mode", "warning")}),
    "optimises": (("", "pass", REFINE), {("test-time-optimisation", "warning")}),
}


@pytest.mark.parametrize("what", RUNS)
def test_flags_stand_beside_the_number(plugged: Callable[..., RunSummary], what: str) -> None:
    words, expected = RUNS[what]
    cells = {"models": "{source: mine}", "attacks": "{name: pgd, steps: 2}", "defenses": "none, bit_depth"}
    summary = plugged(PLUGIN.format(*words), **cells)
    for result in summary.results:
        if result.role == "suite":
            assert result.status == "done", result.traceback
            ours = [flag for flag in result.flags if flag.rule in ("training-mode", "test-time-optimisation")]
            assert rules(ours) == expected
            assert len(ours) == len(rules(ours)), "said once, though the defended model shows it, too"


def test_statistics_that_move_are_named_in_the_error(plugged: Callable[..., RunSummary]) -> None:
    """Every pass changes the model, so that there is no verdict; the reason says which layer it is."""
    plugin = PLUGIN.format("", "self.norm.training = True", "pass")
    result = plugged(plugin, models="{source: mine}", attacks="fgsm").results[0]
    assert result.status == "error"
    assert "other weights or buffers (module.norm (BatchNorm2d) is in training mode)" in result.reason


def test_evaluate_shows_the_flags() -> None:
    data = datasets.load(DatasetSpec(name="mnist", samples=12), Places())
    batch = data.batch(range(12))

    def table(*layers: nn.Module) -> Any:
        torch.manual_seed(0)
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(784, 10))
        model.eval()
        return bench.evaluate(model, batch.x, batch.y, threat_model="linf:0.1", attacks=["fgsm"]).table.iloc[0]

    ordinary, dropped = table(nn.Dropout(0.5), nn.BatchNorm2d(1)), table(stubborn(nn.Dropout(0.5)))
    assert (ordinary["status"], ordinary["flags"]) == ("done", "")
    assert (dropped["status"], dropped["flags"]) == ("invalid", "unmarked-randomness, training-mode")


def test_the_zoo_is_not_flagged(plugged: Callable[..., RunSummary]) -> None:
    summary = plugged(
        "METRICS = {}\nATTACKS = {'mine': object}",
        models="zoo:mnist_standard, zoo:mnist_pgd",
        attacks="fgsm",
        defenses="none, jpeg, random_noise, {name: ensemble, members: ['zoo:mnist_pgd']}",
    )
    for result in summary.results:
        assert result.status == "done", result.traceback
        assert {"training-mode", "test-time-optimisation"}.isdisjoint(flag.rule for flag in result.flags)
