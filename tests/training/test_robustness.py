"""Each training method makes a network more robust than standard training does, and every recipe can be followed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import safetensors.torch
import torch

from bench.defenses import build as build_defense
from bench.defenses.base import Purifier
from bench.models.architectures.dncnn import dncnn
from bench.suites.spec import DefenseSpec
from bench.training.card import Card, DenoiserCard
from bench.training.load import load
from bench.training.train import train

RECIPES = Path(__file__).parents[2] / "recipes"
DIGITS = """\
name: mini
dataset: {name: mnist, samples: 600, select: stratified}
test: {name: mnist, samples: 100}
architecture: {name: mnist_cnn, channels: [8, 16], hidden: 32}
epochs: 15
batch_size: 50
optimizer: {name: adam, lr: 0.004}
schedule: onecycle
augmentation: {shift: 1}
threads: 1
evaluation: {threat_models: ["linf:0.1"], attacks: [{name: pgd, steps: 10}], samples: 0}
"""
METHODS = {
    "fgsm": "{name: fgsm, eps: 0.1, eps_warmup: 6}",
    "n-fgsm": "{name: fgsm, eps: 0.1, eps_warmup: 6, alpha: 0.1, noise: 2, project: false}",
    "pgd": "{name: pgd, eps: 0.1, eps_warmup: 6, steps: 3}",
    "trades": "{name: trades, eps: 0.1, eps_warmup: 6, steps: 3}",
    "mart": "{name: mart, eps: 0.1, eps_warmup: 6, steps: 3}",
    "free": "{name: free, eps: 0.1, eps_warmup: 6, replays: 3}",
    "apgd": "{name: attack, eps: 0.1, eps_warmup: 6, attack: {name: apgd, steps: 4}}",
    "art": "{name: attack, eps: 0.1, eps_warmup: 6, attack: {name: fgsm, backend: art}}",
    "noise": "{name: noise, std: 0.4}",
}

QUICK = ("fgsm", "trades", "noise")
"""Those that are tried every time; all of them in ``tox -e slow``."""


@cache
def standard(directory: Path) -> float:
    """Robust accuracy of standard training."""
    return robust(directory, "standard")


def robust(directory: Path, method: str) -> float:
    recipe = directory / "recipe.yaml"
    recipe.write_text(f"{DIGITS}method: {method}\n")
    card = train(recipe, output=directory, device="cpu").card
    assert isinstance(card, Card)
    assert (card.clean_accuracy.value or 0) > 0.85
    return card.robust_accuracy[0].accuracy.value or 0.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_the_method_makes_it_more_robust(name: str, place: Path, tmp_path: Path) -> None:
    gained = robust(tmp_path, METHODS[name]) - standard(place)
    assert gained > 0.15


def test_a_trained_dncnn_takes_off_noise_and_is_the_defenses(written: Callable[[str], Path], tmp_path: Path) -> None:
    recipe = written(
        "name: mini\ndataset: {name: mnist, samples: 200}\ntest: {name: mnist, samples: 40}\n"
        "architecture: {name: dncnn, width: 12, depth: 5}\nmethod: {name: denoise, std: 0.3}\nepochs: 4\n"
        "batch_size: 10\noptimizer: {name: adam, lr: 0.004}\nthreads: 1\nevaluation: {samples: 0}\n"
    )
    result = train(recipe, output=tmp_path, device="cpu")
    assert isinstance(result.card, DenoiserCard)
    said = result.card.denoising
    assert (said.psnr_denoised.value or 0) > (said.psnr_noisy.value or 0) + 3
    network = dncnn(width=12, depth=5)
    network.load_state_dict(safetensors.torch.load_file(result.weights))
    purifier = build_defense(DefenseSpec(id=None, name="dncnn", args={"weights": str(result.weights)}))
    assert isinstance(purifier, Purifier)
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(purifier.purify(x), network(x).clamp(0, 1))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_right_and_named_as_its_file(path: Path) -> None:
    recipe = load(path)
    assert recipe.name == path.stem
    assert recipe.description
