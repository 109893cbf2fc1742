"""No attack of our own leaves more images robust in bfloat16 than in float32, on real networks and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench import attacks, models, threat_models
from bench.attacks.base import AttackContext, Samples
from bench.attacks.draws import Draws
from bench.models.base import Setting
from bench.models.wrapper import CountedModel
from bench.runner.evaluate import _precision
from bench.suites.places import Places
from bench.suites.spec import AttackSpec, ModelSpec

Problem = tuple[CountedModel, Samples]
D = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}
S = {"mean": tuple(one / 255 for one in (125.3, 123.0, 113.9)), "std": tuple(one / 255 for one in (63.0, 62.1, 66.7))}
NETWORKS = {"resnet2b.pth": ("resnet_2b", D), "cifar_cnn_a_mix.model": ("wong_kolter", S)}
FINE = {"fab": {"steps": 10}, "fab_targeted": {"steps": 15}, "square": {"n_queries": 400}}
OTHERS: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "bim": {},
    "mi_fgsm": {},
    "pgd": {"steps": 10},
    "adam_pgd": {"steps": 20},
    "apgd": {"steps": 20, "loss": "dlr"},
    "apgd_targeted": {"steps": 10},
    "malt": {"steps": 10},
    "fmn": {"steps": 30},
    "deepfool": {},
}
L2 = {"ddn": {"steps": 30}, "cw": {"steps": 20, "binary_search_steps": 3}, "fmn": {"steps": 30}, "apgd": {"steps": 20}}


@pytest.fixture(scope="module")
def problem(shared: Path) -> Callable[[str], Problem]:
    """A network with images that it classifies correctly."""

    def make(file: str) -> Problem:
        architecture, normalisation = NETWORKS[file]
        spec = ModelSpec(
            id="m",
            source="checkpoint",
            weights=str(shared / "models" / file),
            architecture=architecture,
            **normalisation,
        )
        setting = Setting("cifar10", "linf", 10, (3, 32, 32))
        model = models.load(spec, setting, Places(download=False), device="cpu")
        data = np.load(shared / "cifar10" / "cifar10_test_0_511.npz")
        x = torch.from_numpy(data["x"][:64].astype(np.float32) / 255)
        y = torch.from_numpy(data["y"][:64].astype(np.int64))
        with torch.no_grad():
            rows = (model(x).argmax(1) == y).nonzero().flatten()
        return model, Samples(x[rows], y[rows], tuple(f"cifar10/test/{row:05d}" for row in rows.tolist()))

    return make


def found(
    problem: Problem, name: str, args: dict[str, Any], precision: str, norm: str, eps: str
) -> tuple[Tensor, Tensor]:
    """The points, and which images they leave robust in float32."""
    model, samples = problem
    ball = threat_models.build(norm, Fraction(eps))
    context = AttackContext(ball, Draws(0, name), precision=precision)
    x_adv = attacks.build(AttackSpec(name=name, args=args), norm).run(model, samples, context).x_adv
    with torch.no_grad():
        broken = (model(x_adv).argmax(1) != samples.y) & ball.contains(x_adv, samples.x)
    return x_adv, ~broken


@pytest.mark.parametrize("file", NETWORKS)
@pytest.mark.parametrize("name", FINE)
def test_attacks_that_need_fine_differences_are_not_weakened(
    problem: Callable[[str], Problem], file: str, name: str
) -> None:
    here = problem(file)
    (one, exact), (other, cheap) = (
        found(here, name, FINE[name], precision, "linf", "2/255") for precision in ("float32", "bfloat16")
    )
    assert torch.equal(exact, cheap)
    assert torch.equal(one, other)
    assert 0 < int(exact.sum()) < len(exact)


@pytest.mark.parametrize("file", NETWORKS)
@pytest.mark.parametrize(
    ("name", "args", "norm", "eps"),
    [(name, args, "linf", "2/255") for name, args in OTHERS.items()]
    + [(name, args, "l2", "64/255") for name, args in L2.items()],
)
def test_other_attacks_leave_as_many_robust(
    problem: Callable[[str], Problem], file: str, name: str, args: dict[str, Any], norm: str, eps: str
) -> None:
    here = problem(file)
    exact, cheap = (found(here, name, args, precision, norm, eps)[1] for precision in ("float32", "bfloat16"))
    assert abs(int(exact.sum()) - int(cheap.sum())) <= 1
    assert int((exact != cheap).sum()) <= 2
    assert 0 < int(exact.sum()) < len(exact)


@pytest.mark.parametrize("name", sorted({*FINE, *OTHERS, *L2}))
def test_the_record_says_in_which_precision_an_attack_searched(name: str) -> None:
    class Worker:
        device = torch.device("cpu")

    class Cell:
        precision = "bfloat16"

    norm = "linf" if name in {**FINE, **OTHERS} else "l2"
    attack = attacks.build(AttackSpec(name=name), norm)
    said = _precision(Worker(), Cell(), attack)  # type: ignore[arg-type]
    assert said == ("float32" if name in FINE else "bfloat16")


def test_what_is_near_float32_is_tf32_on_a_gpu() -> None:
    context = AttackContext(
        threat_models.build("linf", Fraction(1, 10)), Draws(0, "a"), precision="bfloat16", graphed=True
    )
    assert context.closer(torch.device("cuda")) == replace(context, precision="tf32")
    assert context.closer(torch.device("cpu")) == replace(context, precision="float32", graphed=False)
