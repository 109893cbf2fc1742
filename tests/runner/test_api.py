"""``bench.evaluate`` on real digits and on models that misbehave, against plain torch."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import bench
from bench import datasets, registry
from bench.attacks.base import Attack, AttackContext, AttackResult, Samples
from bench.errors import BenchError, DatasetError, ModelError, SuiteError, UnknownNameError
from bench.models.zoo.cards import cards
from bench.runner.memory_run import Evaluation
from bench.runner.options import RunSettings
from bench.stats import wilson
from bench.suites.places import Places
from bench.suites.spec import DatasetSpec

EPS = 0.15
COLUMNS = [
    "attack",
    "adversary",
    "clean_accuracy",
    "robust_accuracy",
    "low",
    "high",
    "attack_success_rate",
    "status",
    "flags",
]
SAMPLES = {
    "attack",
    "sample_index",
    "label",
    "clean_prediction",
    "adversarial_prediction",
    "clean_correct",
    "robust",
    "distance",
}


def small_cnn() -> nn.Sequential:
    """The architecture of the zoo and of the published MNIST weights, written down once more."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1568, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    """120 real digits."""
    batch = datasets.load(DatasetSpec(name="mnist", samples=120), Places(download=False)).batch(range(120))
    return batch.x, batch.y


@pytest.fixture
def network() -> nn.Sequential:
    """A real model, trained on digits."""
    model = small_cnn()
    model.load_state_dict(load_file(cards()["mnist_standard"].path))
    return model.eval()


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    point = x.clone().requires_grad_()
    functional.cross_entropy(model(point), y, reduction="sum").backward()
    assert point.grad is not None
    return point.grad


def predicted(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)


def of(result: Evaluation, attack: str) -> object:
    return result.samples[result.samples["attack"] == attack]


class Linear(nn.Module):
    """Three classes of 2x2 images in three colours."""

    def __init__(self, classes: int = 3, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(12, classes, bias=False, dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1) - 0.5)
        return logits


@pytest.fixture
def tiny() -> tuple[Linear, Tensor, Tensor]:
    """A linear model and images that it classifies correctly."""
    model = Linear()
    x = torch.rand(12, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    y = predicted(model, x)
    assert set(y.tolist()) == {0, 1, 2}
    return model, x, y


# -- the numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.15), ("l2", 1.5)])
def test_one_step_is_what_plain_torch_gives(
    network: nn.Module, digits: tuple[Tensor, Tensor], norm: str, eps: float
) -> None:
    x, y = digits
    result = bench.evaluate(network, x, y, f"{norm}:{eps}", ["fgsm"])
    step = gradient(network, x, y)
    if norm == "linf":
        step = eps * step.sign()
    else:
        step = eps * step / step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    x_adv = (x + step).clamp(0, 1)
    clean = predicted(network, x) == y
    robust = clean & (predicted(network, x_adv) == y)
    low, high = wilson(int(robust.sum()), 120)
    assert result.table.columns.tolist() == COLUMNS
    assert result.table["attack"].tolist() == ["fgsm", "worst case"]
    for row in result.table.to_dict("records"):
        assert row["clean_accuracy"] == clean.double().mean()
        assert row["robust_accuracy"] == robust.double().mean()
        assert (row["low"], row["high"]) == (low, high)
        assert row["attack_success_rate"] == pytest.approx(float((clean & ~robust).sum() / clean.sum()))
        assert row["status"] == "done"
    rows = result.samples
    assert set(rows.columns) >= SAMPLES
    assert rows["sample_index"].tolist() == list(range(120))
    assert rows["label"].tolist() == y.tolist()
    assert rows["clean_prediction"].tolist() == predicted(network, x).tolist()
    assert rows["clean_correct"].tolist() == clean.tolist()
    assert rows["robust"].tolist() == robust.tolist()
    assert 0.05 < robust.double().mean() < 0.9
    judged = result.adversarial("fgsm")
    broken = clean & ~robust
    torch.testing.assert_close(judged[broken], x_adv[broken], atol=1e-6, rtol=0)
    torch.testing.assert_close(judged[~clean], x[~clean], atol=0, rtol=0)
    assert rows["adversarial_prediction"].tolist() == predicted(network, judged).tolist()
    delta = (judged - x).flatten(1)
    distance = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    np.testing.assert_allclose(rows["distance"], distance, atol=1e-6)


def test_several_steps_are_what_plain_torch_gives(network: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits
    attack = {"name": "pgd", "steps": 7, "alpha": 0.04, "random_start": False}
    result = bench.evaluate(network, x, y, f"linf:{EPS}", [attack, "fgsm"])
    x_adv, broken = x.clone(), torch.zeros(len(x), dtype=torch.bool)
    for _ in range(7):
        x_adv = x_adv + 0.04 * gradient(network, x_adv, y).sign()
        x_adv = (x + (x_adv - x).clamp(-EPS, EPS)).clamp(0, 1)
        broken |= predicted(network, x_adv) != y
    clean = predicted(network, x) == y
    table = result.table.set_index("attack")
    assert table.loc["pgd", "robust_accuracy"] == (clean & ~broken).double().mean()
    fgsm = torch.tensor(of(result, "fgsm")["robust"].tolist())  # type: ignore[index]
    assert table.loc["worst case", "robust_accuracy"] == (clean & ~broken & fgsm).double().mean()
    assert (result.samples["distance"] <= EPS + 1e-6).all()


def test_published_weights_on_the_original_digits(shared: Path) -> None:
    with gzip.open(shared / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        raw = np.frombuffer(file.read(16 + 784 * 200)[16:], np.uint8).reshape(200, 1, 28, 28)
    with gzip.open(shared / "mnist" / "t10k-labels-idx1-ubyte.gz") as file:
        y = torch.tensor(np.frombuffer(file.read(8 + 200)[8:], np.uint8).astype(np.int64))
    x = torch.tensor(raw.astype(np.float32) / 255)
    model = small_cnn()
    model.load_state_dict(torch.load(shared / "models" / "mnist_pgd_madry.pth", weights_only=True, map_location="cpu"))
    result = bench.evaluate(model, x, y, "linf:0.3", ["fgsm", {"name": "pgd", "steps": 20}])
    table = result.table.set_index("attack")
    x_adv = (x + 0.3 * gradient(model, x, y).sign()).clamp(0, 1)
    clean, robust = predicted(model, x) == y, predicted(model, x_adv) == y
    assert table.loc["fgsm", "clean_accuracy"] == clean.double().mean()
    assert table.loc["fgsm", "robust_accuracy"] == (clean & robust).double().mean()
    assert 0.7 < table.loc["pgd", "robust_accuracy"] <= table.loc["fgsm", "robust_accuracy"]


def test_a_single_image_and_no_correct_image(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    model, x, y = tiny
    attacks = [
        "fgsm",
        {"name": "pgd", "steps": 3},
        {"name": "pgd", "backend": "foolbox", "steps": 3, "id": "foolbox"},
        {"name": "square", "n_queries": 10},
        {"name": "autoattack", "version": "custom", "attacks": ["apgd-ce", "square"], "n_queries": 10},
    ]
    alone = bench.evaluate(model, x[:1], y[:1], "linf:1e-4", attacks)
    assert alone.table["robust_accuracy"].tolist() == [1.0] * 6
    assert alone.table["low"].tolist() == [wilson(1, 1).low] * 6
    wrong = bench.evaluate(model, x, (y + 1) % 3, "linf:0.1", attacks)
    assert wrong.errors == {}
    assert wrong.table["clean_accuracy"].tolist() == [0.0] * 6
    assert wrong.table["robust_accuracy"].tolist() == [0.0] * 6
    assert wrong.table["attack_success_rate"].isna().all()
    assert not wrong.samples["success"].any()
    assert (wrong.samples["distance"] == 0).all()


def test_names_of_attacks(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    model, x, y = tiny
    one = bench.evaluate(model, x, y, "linf:0.1", "fgsm")
    assert one.table["attack"].tolist() == ["fgsm", "worst case"]
    one = bench.evaluate(model, x, y, {"norm": "linf", "eps": "0.1"}, {"name": "pgd", "steps": 3})
    assert one.table["attack"].tolist() == ["pgd", "worst case"]
    two = bench.evaluate(model, x, y, "linf:0.1", [{"name": "pgd", "steps": 3}, {"name": "pgd", "steps": 4}])
    assert two.table["attack"].tolist() == ["pgd-3", "pgd-4", "worst case"]
    assert two.adversarial("pgd-3").shape == x.shape
    with pytest.raises(UnknownNameError, match="pgd-3, pgd-4"):
        two.adversarial("pgd")


# -- defenses ----------------------------------------------------------------------------------------------------------


def test_a_defense_is_attacked_as_a_defense(network: nn.Module, digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:40], digits[1][:40]
    attack = {"name": "pgd", "steps": 5}
    result = bench.evaluate(network, x, y, f"linf:{EPS}", [attack], defense={"name": "bit_depth", "bits": 3})
    rows = result.table.set_index("attack")
    assert rows.index.tolist() == ["pgd", "pgd (oblivious)", "square (gradient-free)", "worst case"]
    assert rows["adversary"].tolist() == ["adaptive", "oblivious", "adaptive", "adaptive"]

    def defended(points: Tensor) -> Tensor:
        return predicted(network, (points * 7).round() / 7)

    clean = defended(x) == y
    worst = clean.clone()
    for name in rows.index[:3]:
        robust = clean & (defended(result.adversarial(name)) == y)
        assert rows.loc[name, "clean_accuracy"] == clean.double().mean()
        assert rows.loc[name, "robust_accuracy"] == robust.double().mean()
        worst &= robust
    assert rows.loc["worst case", "robust_accuracy"] == worst.double().mean()
    bare = bench.evaluate(network, x, y, f"linf:{EPS}", [attack], search="strongest")
    assert torch.equal(bare.adversarial("pgd"), result.adversarial("pgd (oblivious)"))
    only = bench.evaluate(
        network, x, y, f"linf:{EPS}", [attack], defense={"name": "bit_depth", "bits": 3}, adversary="oblivious"
    )
    assert only.table["attack"].tolist() == ["pgd (oblivious)", "worst case"]
    assert only.table["robust_accuracy"].tolist() == [rows.loc["pgd (oblivious)", "robust_accuracy"]] * 2


def test_a_defense_that_nobody_attacked_who_knows_it_is_flagged(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    model, x, y = tiny
    defense = {"name": "bit_depth", "bits": 3}
    weak = bench.evaluate(model, x, y, "linf:0.1", ["fgsm"], defense=defense, adversary="oblivious")
    assert weak.table["flags"].tolist() == ["no-adaptive-attack", "no-adaptive-attack"]
    assert weak.table["adversary"].tolist() == ["oblivious", "oblivious"]
    (line,) = weak.flags
    assert line.startswith("fgsm (oblivious): only an oblivious adversary")
    assert "no-adaptive-attack" in repr(weak)
    full = bench.evaluate(model, x, y, "linf:0.1", ["fgsm"], defense=defense)
    assert full.flags == ()
    assert full.table["flags"].tolist() == [""] * 4
    bare = bench.evaluate(model, x, y, "linf:0.1", ["fgsm"], adversary="oblivious")
    assert bare.flags == ()
    assert bare.table["adversary"].tolist() == ["adaptive", "adaptive"]


# -- the model and the world are as before -----------------------------------------------------------------------------


def fresh() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A model in a mixed state: some modules in training mode, some weights frozen, running statistics."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model, torch.rand(10, 3, 4, 4), torch.arange(10) % 3


def state(model: nn.Module) -> dict[str, object]:
    return {
        "modes": [module.training for module in model.modules()],
        "grads": [parameter.requires_grad for parameter in model.parameters()],
        "grad": [parameter.grad for parameter in model.parameters()],
        "places": [str(tensor.device) for tensor in model.state_dict().values()],
        "weights": {name: tensor.tolist() for name, tensor in model.state_dict().items()},
        "hooks": [len(module._forward_hooks) for module in model.modules()],
    }


@pytest.mark.parametrize(
    "attacks",
    [
        ["fgsm"],
        [{"name": "pgd", "backend": "art", "steps": 2}],
        [{"name": "pgd", "backend": "foolbox", "steps": 2}],
        [{"name": "square", "n_queries": 5}],
        ["autoattack"],
        ["no such attack"],
    ],
)
def test_the_model_is_as_before(attacks: list[object]) -> None:
    """Also where the attack fails (autoattack's needs four classes) and where nothing could be run."""
    model, x, y = fresh()
    before, images, labels = state(model), x.clone(), y.clone()
    try:
        bench.evaluate(model, x, y, "linf:0.1", attacks)  # type: ignore[arg-type]
    except SuiteError:
        assert attacks == ["no such attack"]
    assert state(model) == before
    assert torch.equal(x, images)
    assert torch.equal(y, labels)


def test_the_model_is_as_before_when_it_raises(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    class Fails(Linear):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 1:
                raise ValueError("one at a time")
            return super().forward(x)

    _, x, y = tiny
    model = Fails().train()
    before = state(model)
    with pytest.raises(ModelError, match="one at a time"):
        bench.evaluate(model, x, y, "linf:0.1", ["fgsm"])
    assert state(model) == before


def test_the_worlds_dice_are_untouched(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    class Drops(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(functional.dropout(x, 0.2, training=True))

    (_, x, y), model = tiny, Drops()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    expected = (torch.rand(3).tolist(), np.random.random(3).tolist(), random.random())
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    attacks = [
        {"name": "pgd", "steps": 2},
        {"name": "square", "n_queries": 5},
        {"name": "pgd", "backend": "art", "id": "art"},
    ]
    bench.evaluate(model, x, y, "linf:0.1", attacks)
    assert (torch.rand(3).tolist(), np.random.random(3).tolist(), random.random()) == expected
    assert torch.is_grad_enabled()


def test_the_dice_do_not_change_the_numbers(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    """Not even those of a model that throws them: the harness seeds what it can."""

    class Drops(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(functional.dropout(x, 0.2, training=True))

    (_, x, y), model = tiny, Drops()
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(bench.evaluate(model, x, y, "linf:0.1", ["fgsm", {"name": "pgd", "steps": 2}]).samples)
    assert results[0].equals(results[1])


# -- inputs that can't work --------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[type[BenchError], str, Callable[[Tensor, Tensor], dict[str, object]]]] = {
    "bytes": (DatasetError, "uint8; divide by 255", lambda x, y: {"x": (255 * x).byte()}),
    "0 to 255": (DatasetError, "divide by 255", lambda x, y: {"x": 255 * x}),
    "normalised": (DatasetError, "put the normalisation into the model", lambda x, y: {"x": x * 2 - 1}),
    "twice divided": (DatasetError, "divided by 255 twice", lambda x, y: {"x": x / 255}),
    "NaN": (DatasetError, "first is image 1", lambda x, y: {"x": x.index_fill(0, torch.tensor([1]), float("nan"))}),
    "infinite": (DatasetError, "NaN or infinity", lambda x, y: {"x": x.index_fill(0, torch.tensor([0]), float("inf"))}),
    "empty": (DatasetError, r"\(0, 3, 2, 2\)", lambda x, y: {"x": x[:0], "y": y[:0]}),
    "no pixels": (DatasetError, r"\(12, 3, 0, 2\)", lambda x, y: {"x": x[:, :, :0]}),
    "one image": (DatasetError, r"\(3, 2, 2\)", lambda x, y: {"x": x[0]}),
    "numpy": (DatasetError, "ndarray", lambda x, y: {"x": x.numpy()}),
    "too few labels": (DatasetError, r"\(11,\)", lambda x, y: {"y": y[:-1]}),
    "labels beyond": (DatasetError, "the model has 3 classes", lambda x, y: {"y": y + 1}),
    "labels below": (DatasetError, "from -1", lambda x, y: {"y": y - 1}),
    "float labels": (DatasetError, "integer", lambda x, y: {"y": y.float()}),
    "one-hot labels": (DatasetError, r"\(12, 3\)", lambda x, y: {"y": functional.one_hot(y, 3)}),
    "eps alone": (SuiteError, "norm:eps", lambda x, y: {"threat_model": "8/255"}),
    "eps of 8": (SuiteError, "did you mean 8/255", lambda x, y: {"threat_model": "linf:8"}),
    "eps of 0": (SuiteError, "above 0", lambda x, y: {"threat_model": "linf:0"}),
    "eps in words": (SuiteError, "'eight'", lambda x, y: {"threat_model": "linf:eight"}),
    "several eps": (SuiteError, "several radii", lambda x, y: {"threat_model": {"norm": "linf", "eps": [0.1, 0.2]}}),
    "L0": (SuiteError, "no threat model for l0 yet", lambda x, y: {"threat_model": "l0:10"}),
    "no norm": (SuiteError, "linf", lambda x, y: {"threat_model": "l7:1"}),
    "no attack": (SuiteError, "at least 1", lambda x, y: {"attacks": []}),
    "unknown attack": (SuiteError, "did you mean fgsm", lambda x, y: {"attacks": ["fgms"]}),
    "a number": (SuiteError, "names, or mappings", lambda x, y: {"attacks": [7]}),
    "unknown parameter": (SuiteError, "did you mean steps", lambda x, y: {"attacks": [{"name": "pgd", "stepps": 3}]}),
    "steps below 1": (SuiteError, "steps", lambda x, y: {"attacks": [{"name": "pgd", "steps": 0}]}),
    "twice the same": (SuiteError, "twice", lambda x, y: {"attacks": ["fgsm", "fgsm"]}),
    "unknown defense": (SuiteError, "did you mean jpeg", lambda x, y: {"defense": "jpg"}),
    "unknown adversary": (SuiteError, "oblivious, naive or adaptive", lambda x, y: {"adversary": "blind"}),
    "negative seed": (SuiteError, "at least 0", lambda x, y: {"seed": -1}),
    "unknown search": (SuiteError, "first_success", lambda x, y: {"search": "best"}),
    "unknown device": (BenchError, "accepted: auto", lambda x, y: {"device": "tpu"}),
    "a function": (ModelError, "torch.nn.Module", lambda x, y: {"model": lambda x: x}),
    "float64 model": (ModelError, r"give model.float\(\)", lambda x, y: {"model": Linear(dtype=torch.float64)}),
    "bfloat16 model": (ModelError, r"give model.float\(\)", lambda x, y: {"model": Linear(dtype=torch.bfloat16)}),
    "one class": (ModelError, "K at least 2", lambda x, y: {"model": Linear(classes=1)}),
    "other images": (ModelError, r"shape \(1, 12, 1, 2\)", lambda x, y: {"x": torch.rand(12, 12, 1, 2)}),
    "features": (ModelError, r"shape \(1, 3, 2, 2\)", lambda x, y: {"model": nn.Identity()}),
    "wrong K": (ModelError, "3 logits", lambda x, y: {"num_classes": 10}),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_work_is_refused_with_the_reason(tiny: tuple[Linear, Tensor, Tensor], case: str) -> None:
    model, x, y = tiny
    kind, words, change = WRONG[case]
    given = {"model": model, "x": x, "y": y, "threat_model": "linf:0.1", "attacks": ["fgsm"], **change(x, y)}
    with pytest.raises(kind, match=words):
        bench.evaluate(**given)  # type: ignore[arg-type]


# -- models and attacks that misbehave ---------------------------------------------------------------------------------


class Misbehaves(Attack):
    """Whatever ``how`` does to the model and the samples."""

    norms = ("linf", "l2")
    how: Callable[[nn.Module, Samples], Tensor]

    def run(self, model: object, samples: Samples, context: AttackContext) -> AttackResult:
        result = AttackResult.untouched(samples)
        result.x_adv = type(self).how(model, samples)  # type: ignore[arg-type]
        return result


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[nn.Module, Samples], Tensor]], str]:
    """Adds an attack to the table for this test."""

    def add(how: Callable[[nn.Module, Samples], Tensor]) -> str:
        kind = type("Added", (Misbehaves,), {"how": staticmethod(how)})
        registry.attacks.add("added", kind, origin="a test")
        return "added"

    yield add  # type: ignore[misc]
    registry.attacks.remove("a test")


def test_a_failing_attack_is_an_error_and_the_worst_case_incomplete(
    tiny: tuple[Linear, Tensor, Tensor], misbehaving: Callable[..., str]
) -> None:
    def fail(model: nn.Module, samples: Samples) -> Tensor:
        raise RuntimeError("step 7")

    model, x, y = tiny
    result = bench.evaluate(model, x, y, "linf:0.1", [misbehaving(fail), "fgsm"])
    table = result.table.set_index("attack")
    assert table["status"].to_dict() == {"added": "error", "fgsm": "done", "worst case": "incomplete"}
    assert table.loc["added", ["clean_accuracy", "robust_accuracy", "low", "high", "attack_success_rate"]].isna().all()
    assert table.loc["worst case", ["low", "high"]].isna().all()
    assert table.loc["worst case", "robust_accuracy"] == table.loc["fgsm", "robust_accuracy"]
    assert "RuntimeError: step 7" in result.errors["added"]
    assert "Traceback" in result.errors["added"]
    assert any("step 7" in flag for flag in result.flags)
    assert set(result.samples["attack"]) == {"fgsm"}
    with pytest.raises(UnknownNameError, match="fgsm"):
        result.adversarial("added")
    alone = bench.evaluate(model, x, y, "linf:0.1", ["added"])
    assert alone.table["robust_accuracy"].isna().all()
    assert alone.table["status"].tolist() == ["error", "incomplete"]
    assert alone.samples.empty
    assert set(alone.samples.columns) == set(result.samples.columns)


def test_an_attack_that_exits_is_an_error(tiny: tuple[Linear, Tensor, Tensor], misbehaving: Callable[..., str]) -> None:
    def leave(model: nn.Module, samples: Samples) -> Tensor:
        raise SystemExit(0)

    model, x, y = tiny
    assert bench.evaluate(model, x, y, "linf:0.1", [misbehaving(leave)]).table["status"].tolist() == [
        "error",
        "incomplete",
    ]


def nudge(model: nn.Module) -> None:
    with torch.no_grad():
        next(model.parameters()).add_(0.5)


def nudge_data(model: nn.Module) -> None:
    next(model.parameters()).data.mul_(-1)


def train(model: nn.Module) -> None:
    for module in model.modules():
        module.training = True


def hook(model: nn.Module) -> None:
    list(model.modules())[-1].register_forward_hook(lambda module, given, logits: logits * 0)


@pytest.mark.parametrize("change", [nudge, nudge_data, train, hook])
def test_an_attack_that_changes_the_model_is_an_error(
    tiny: tuple[Linear, Tensor, Tensor], misbehaving: Callable[..., str], change: Callable[[nn.Module], None]
) -> None:
    """What it says would be about another model, and so would everything after it."""

    def spoil(model: nn.Module, samples: Samples) -> Tensor:
        change(model)
        return samples.x

    model, x, y = tiny
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = bench.evaluate(model, x, y, "linf:0.1", [misbehaving(spoil), "fgsm"])
    table = result.table.set_index("attack")
    assert table.loc["added", "status"] == "error"
    assert "not the same after the attack" in result.errors["added"]
    expected = bench.evaluate(Linear(), x, y, "linf:0.1", ["fgsm"]).table.set_index("attack")
    if change is hook:
        assert table.loc["fgsm", "status"] == "error", (
            "a hook can't be taken off again: no number rather than a wrong one"
        )
    else:
        assert table.loc["fgsm"].equals(expected.loc["fgsm"])
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_an_attack_that_overwrites_its_samples_changes_nothing(
    tiny: tuple[Linear, Tensor, Tensor], misbehaving: Callable[..., str]
) -> None:
    def overwrite(model: nn.Module, samples: Samples) -> Tensor:
        points = samples.x.clone()
        samples.x.zero_()
        samples.y.fill_(0)
        return points

    model, x, y = tiny
    result = bench.evaluate(model, x, y, "linf:0.1", [misbehaving(overwrite), "fgsm"])
    expected = bench.evaluate(model, x, y, "linf:0.1", ["fgsm"])
    table = result.table.set_index("attack")
    assert table.loc["added", "robust_accuracy"] == 1.0
    assert of(result, "fgsm").reset_index(drop=True).equals(expected.samples)  # type: ignore[attr-defined]
    assert of(result, "added")["label"].tolist() == y.tolist()  # type: ignore[index]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_model_that_works_in_place_sees_clean_images(
    network: nn.Module, digits: tuple[Tensor, Tensor], norm: str
) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.network(x.sub_(0.5).mul_(2).add_(1).div_(2))
            return logits

    x, y = digits
    before = x.clone()
    attacks = ["fgsm", {"name": "pgd", "steps": 3}, {"name": "square", "n_queries": 20}]
    result = bench.evaluate(InPlace(), x, y, f"{norm}:0.2", attacks)
    expected = bench.evaluate(network, x, y, f"{norm}:0.2", attacks)
    assert torch.equal(x, before)
    assert result.table["status"].tolist() == ["done"] * 4
    assert result.table["clean_accuracy"].tolist() == expected.table["clean_accuracy"].tolist()
    assert (result.samples["robust"] == expected.samples["robust"]).mean() > 0.99
    assert (result.samples["distance"] <= 0.2 + 1e-6).all()


class Drops(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.dropout(x, 0.5, training=True))


class Remembers(Linear):
    """Answers as trained until it has been asked often."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 if self.calls < 8 else -1)


class Compares(Linear):
    """Normalises by the batch that it happens to be in."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x - x.mean()) / (x.std() + 1e-6))


class Pretends(Linear):
    """Shows an attacker another model than the judge."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flip(3) if torch.is_grad_enabled() else x)


class Softmax(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Drops, "the model is random"),
        (Compares, "depends on other images"),
        (Softmax, "look like probabilities"),
    ],
)
def test_models_whose_numbers_need_a_word_are_flagged(
    tiny: tuple[Linear, Tensor, Tensor], model: type[Linear], words: str
) -> None:
    _, x, y = tiny
    result = bench.evaluate(model(), x, y, "linf:0.1", ["fgsm"])
    assert [words in flag for flag in result.flags] == [True]
    assert bench.evaluate(Linear(), x, y, "linf:0.1", ["fgsm"]).flags == ()


class Rounds(Linear):
    """Masks every gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.round())


def test_masked_gradients_are_no_robustness(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    _, x, y = tiny
    result = bench.evaluate(Rounds(), x.round(), y, "linf:0.1", ["pgd"])
    assert result.table["status"].tolist() == ["invalid", "incomplete"]
    assert result.table["flags"].tolist() == ["zero-gradient"] * 2
    assert result.table["low"].isna().tolist() == [False, True]
    far = bench.evaluate(Rounds(), x.round(), y, "l2:0.1", ["fmn"], search="strongest")
    assert set(far.table["flags"][0].split(", ")) == {"zero-gradient", "no-distance-found"}


def test_a_model_that_remembers_is_an_error(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    _, x, y = tiny
    result = bench.evaluate(Remembers(), x, y, "linf:0.1", [{"name": "pgd", "steps": 10}])
    assert result.table["status"].tolist() == ["error", "incomplete"]
    assert "logits on a clean image that differ by" in result.errors["pgd"]


def test_a_model_that_gives_nan_under_attack_is_an_error(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    class Breaks(Linear):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            return torch.where(torch.is_grad_enabled() & torch.tensor(x.requires_grad), logits * float("nan"), logits)

    _, x, y = tiny
    result = bench.evaluate(Breaks(), x, y, "linf:0.1", ["fgsm", {"name": "square", "n_queries": 5}])
    assert result.table["status"].tolist() == ["error", "invalid", "incomplete"]


def test_a_model_without_a_gradient_is_an_error_not_robust(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    class Detached(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    _, x, y = tiny
    attacks = ["fgsm", {"name": "pgd", "steps": 2}, {"name": "pgd", "backend": "foolbox", "id": "foolbox"}]
    result = bench.evaluate(Detached().requires_grad_(False), x, y, "linf:0.3", attacks)
    assert result.table["status"].tolist() == ["error", "error", "error", "incomplete"]
    assert result.table["robust_accuracy"].isna().all()


def test_a_model_that_shows_attacks_another_face_is_invalid(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    _, x, y = tiny
    result = bench.evaluate(Pretends(), x, y, "linf:0.1", ["fgsm"])
    assert result.table["status"].tolist() == ["invalid", "incomplete"]
    assert result.table.loc[1, ["low", "high"]].isna().all()
    assert "white-box attacks see another model" in result.flags[0]


@pytest.mark.parametrize("name", ["_Hidden", "Größe", "A b", "X" * 150, "__"])
def test_any_class_may_be_evaluated(tiny: tuple[Linear, Tensor, Tensor], name: str) -> None:
    _, x, y = tiny
    model = type(name, (Linear,), {})()
    assert bench.evaluate(model, x, y, "linf:0.1", ["fgsm"]).table["status"].tolist() == ["done", "done"]


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_autoattack_with_few_classes(classes: int) -> None:
    """The official targeted loss needs four; with fewer there is an error that says what to do, and what it says works."""
    model = Linear(classes)
    x = torch.rand(8, 3, 2, 2, generator=torch.Generator().manual_seed(3))
    y = predicted(model, x)
    official = {"name": "autoattack", "backend": "autoattack", "n_queries": 20}
    attacks: list[Any] = [
        {"name": "autoattack", "id": "ours", "n_queries": 20},
        {**official, "id": "official"},
        {**official, "id": "few", "version": "custom", "attacks": ["apgd-ce", "fab", "square"]},
    ]
    result = bench.evaluate(model, x, y, "linf:0.3", attacks)
    table = result.table.set_index("attack")
    assert table.loc["ours", "status"] == "done", result.errors
    assert table.loc["few", "status"] == "done", result.errors
    assert table.loc["official", "status"] == ("done" if classes >= 4 else "error")
    if classes < 4:
        assert "attacks: [apgd-ce, fab, square]" in result.errors["official"]


def test_odd_images(tiny: tuple[Linear, Tensor, Tensor]) -> None:
    """One pixel, many channels, all black: no wrong number, no crash."""
    for shape in ((5, 1, 1, 1), (5, 7, 3, 2)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape[1:])), 4))
        for x in (torch.zeros(shape), torch.ones(shape), torch.rand(shape)):
            y = predicted(model, x)
            result = bench.evaluate(
                model, x, y, "linf:0.1", ["fgsm", {"name": "pgd", "steps": 3}, {"name": "square", "n_queries": 10}]
            )
            assert result.table["status"].tolist() == ["done"] * 4, result.errors
            assert (result.samples["distance"] <= 0.1 + 1e-6).all()


@pytest.mark.parametrize("eps", ["1e-30", "1e-7", "1"])
def test_radii_at_the_ends(tiny: tuple[Linear, Tensor, Tensor], eps: str) -> None:
    model, x, y = tiny
    for norm in ("linf", "l2"):
        result = bench.evaluate(model, x, y, f"{norm}:{eps}", ["fgsm", {"name": "pgd", "steps": 3}])
        assert result.table["status"].tolist() == ["done"] * 3, result.errors
        assert (result.samples["distance"] <= float(eps) * (1 + 1e-4) + 2e-7).all(), (
            "a float32 pixel has no finer steps"
        )
        if eps == "1e-30":
            assert result.table["robust_accuracy"].tolist() == [1.0] * 3


# -- bench.run and bench.load_suite ------------------------------------------------------------------------------------


def test_run_and_load_suite(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndataset: {name: mnist, samples: 6}\nthreat_models: [linf:0.1]\n"
        "models: [zoo:mnist_standard]\nattacks: [{name: pgd, steps: 2}]\n"
    )
    loaded = bench.load_suite(path, overrides=["attacks.pgd.steps=3"])
    assert loaded.suite.attacks[0].args == {"steps": 3}
    settings = RunSettings(tmp_path / "results", device="cpu", places=Places(download=False))
    summary = bench.run(loaded, settings=settings)
    again = bench.run(str(path), overrides=["attacks.pgd.steps=3"], settings=settings)
    assert summary.directory == again.directory == tmp_path / "results" / "mine" / "default"
    assert summary.results == again.results
    assert [result.attack_id for result in summary.results] == ["pgd-3"]
    for name in ("leaderboard.md", "leaderboard.csv", "plots/robust_accuracy.png", "run.json"):
        assert (summary.directory / name).is_file()
    with pytest.raises(SuiteError, match="can't be read"):
        bench.load_suite(tmp_path / "gone.yaml")


def test_nothing_else_is_offered() -> None:
    assert set(bench.__all__) == {"__version__", "evaluate", "load_suite", "run"}
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        bench.evaluat
