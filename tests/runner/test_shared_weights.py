"""The real weights: exact clean counts, PGD at or below the published bounds, AutoAttack against the official verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from bench import models
from bench.models.base import Setting
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places
from bench.suites.spec import ModelSpec, parse_eps

D = "mean: [.4914, .4822, .4465], std: [.2471, .2435, .2616]"
S = "mean: [0.491373, 0.482353, 0.446667], std: [0.247059, 0.243529, 0.261569]"
I = "mean: [.485, .456, .406], std: [.225, .225, .225]"  # noqa: E741 (its name in the list of weights)

MODELS = {
    "resnet2b.pth": f"architecture: resnet_2b, {D}",
    "cifar_cnn_a_adv.model": f"architecture: wong_kolter, {S}",
    "cifar_cnn_a_mix.model": f"architecture: wong_kolter, {S}",
    "cifar_wide_kw.pth": f"architecture: wong_kolter, {I}",
    "cifar_madry_8px.pth": f"architecture: wong_kolter, {I}",
    "cifar_sgd_8px.pth": f"architecture: wong_kolter, {I}",
    "kw_cifar_small_8px.pth": f"architecture: wong_kolter, {I}",
    "cifar_marabou_medium.pth": "architecture: {name: wong_kolter, padding: 0, hidden: [128, 64]}",
}
CORRECT = {
    "resnet2b.pth": 355,
    "cifar_cnn_a_adv.model": 333,
    "cifar_cnn_a_mix.model": 385,
    "cifar_wide_kw.pth": 322,
    "cifar_madry_8px.pth": 175,
    "cifar_sgd_8px.pth": 379,
    "kw_cifar_small_8px.pth": 171,
    "cifar_marabou_medium.pth": 361,
}
PUBLISHED = {
    ("resnet2b.pth", "2/255"): 275,
    ("cifar_cnn_a_adv.model", "2/255"): 246,
    ("cifar_cnn_a_mix.model", "2/255"): 277,
    ("cifar_wide_kw.pth", "8/255"): 135,
    ("cifar_madry_8px.pth", "8/255"): 38,
    ("cifar_sgd_8px.pth", "8/255"): 1,
    # The 24.5 % of 0-999 (31.2 % clean; 33.4 % here) would be 122 of 500, but the first 500 are easier than that: official
    # AutoAttack leaves 123 of them, a plain PGD 132 to 134, whatever its step size and start. It is no bound for these images.
    ("kw_cifar_small_8px.pth", "8/255"): None,
    ("cifar_marabou_medium.pth", "2/255"): 147,
}
"""Robust images of the first 500 that the figures published with the weights (of 500 to 1000 images) imply: upper bounds."""


def evaluate(shared: Path, tmp_path: Path, weights: str, eps: str, attack: str, norm: str = "linf") -> pd.DataFrame:
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"""
name: shared
dataset: {{name: cifar10, path: {shared}/cifar10/cifar10_test_0_511.npz}}
threat_models: [{{norm: {norm}, eps: {eps}}}]
models: [{{id: m, source: checkpoint, weights: {shared}/models/{weights}, {MODELS[weights]}}}]
attacks: [{attack}]
run: {{save_adversarial: none}}
"""
    )
    settings = RunSettings(tmp_path / "results", device="cpu", places=Places(download=False))
    summary = run_suite(load_suite(path), settings)
    assert [result.status for result in summary.results] == ["done"], summary.results[0].reason
    return pd.read_parquet(summary.directory / "samples").sort_values("position", ignore_index=True)


@pytest.mark.parametrize("weights", list(MODELS))
def test_clean_counts_are_exact(shared: Path, tmp_path: Path, weights: str) -> None:
    rows = evaluate(shared, tmp_path, weights, "1/255", "fgsm")
    assert len(rows) == 512
    assert rows["clean_correct"].sum() == CORRECT[weights]


def plain_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int = 40) -> Tensor:
    """Which images a textbook PGD leaves robust (Madry et al. 2018), shape (N,); any iterate may break one."""
    alpha = 2.5 * eps / steps
    with torch.no_grad():
        robust = model(x).argmax(1) == y
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    x_adv = (x + eps * (2 * noise - 1)).clamp(0, 1)
    for _ in range(steps):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(model(x_adv), y, reduction="sum"), x_adv)
        x_adv = x_adv.detach() + alpha * gradient.sign()
        x_adv = (x + (x_adv - x).clamp(-eps, eps)).clamp(0, 1)
        with torch.no_grad():
            robust &= model(x_adv).argmax(1) == y
    return robust


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "eps"), list(PUBLISHED))
def test_pgd_is_at_or_below_a_plain_pgd_and_the_published_bound(
    shared: Path, tmp_path: Path, weights: str, eps: str
) -> None:
    rows = evaluate(shared, tmp_path, weights, eps, "{name: pgd, steps: 40}")
    robust = int(rows[rows["position"] < 500]["robust"].sum())
    entry = yaml.safe_load(f"{{source: checkpoint, weights: {shared}/models/{weights}, {MODELS[weights]}}}")
    setting = Setting("cifar10", "linf", 10, (3, 32, 32))
    model = models.load(ModelSpec.model_validate(entry), setting, Places(download=False), device="cpu")
    images = np.load(shared / "cifar10" / "cifar10_test_0_511.npz")
    x = torch.from_numpy(images["x"][:500].astype(np.float32) / 255)
    plain = plain_pgd(model, x, torch.from_numpy(images["y"][:500].astype(np.int64)), float(parse_eps(eps)))
    assert robust <= int(plain.sum()) + 2
    published = PUBLISHED[weights, eps]
    if published is not None:
        assert robust <= published + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "norm", "eps"),
    [
        ("resnet2b.pth", "linf", "2/255"),
        ("resnet2b.pth", "l2", "64/255"),
        ("cifar_sgd_8px.pth", "linf", "8/255"),
        ("kw_cifar_small_8px.pth", "linf", "8/255"),
        ("cifar_cnn_a_mix.model", "linf", "2/255"),
    ],
)
@pytest.mark.parametrize("attack", ["autoattack", "{name: autoattack, backend: autoattack}", "cascade"])
def test_autoattack_gives_the_official_verdicts(
    shared: Path, tmp_path: Path, weights: str, norm: str, eps: str, attack: str
) -> None:
    stem = weights.rsplit(".", 1)[0]
    reference = np.load(shared / "reference" / f"{stem}_{norm}_{eps.replace('/', '-')}.npz")
    rows = evaluate(shared, tmp_path, weights, eps, attack, norm)
    assert np.array_equal(rows["clean_correct"].to_numpy(), reference["clean_correct"])
    assert abs(int(rows["robust"].sum()) - int(reference["robust"].sum())) <= 1
    assert (rows["robust"].to_numpy() != reference["robust"]).sum() <= 2


def test_pgd_on_a_model_that_breaks(shared: Path, tmp_path: Path) -> None:
    rows = evaluate(shared, tmp_path, "cifar_sgd_8px.pth", "8/255", "{name: pgd, steps: 20}")
    assert rows["robust"].sum() <= 1
    assert rows["linf"].max() <= 8 / 255 + 1e-6
    assert rows[rows["clean_correct"]]["forwards"].mean() < 6


@pytest.mark.parametrize("backend", ["bench", "autoattack"])
def test_the_first_stage_agrees_with_the_official_number(shared: Path, tmp_path: Path, backend: str) -> None:
    attack = f"{{name: autoattack, backend: {backend}, version: custom, attacks: [apgd-ce]}}"
    rows = evaluate(shared, tmp_path, "resnet2b.pth", "2/255", attack)
    assert abs(int(rows["robust"].sum()) - 282) <= 1
