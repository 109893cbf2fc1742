"""The real weights: exact clean counts, PGD at or below the published bounds, AutoAttack against the official verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places

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
PGD = {
    ("resnet2b.pth", "2/255"): 275,
    ("cifar_cnn_a_adv.model", "2/255"): 246,
    ("cifar_cnn_a_mix.model", "2/255"): 277,
    ("cifar_wide_kw.pth", "8/255"): 135,
    ("cifar_madry_8px.pth", "8/255"): 38,
    ("cifar_sgd_8px.pth", "8/255"): 1,
    ("kw_cifar_small_8px.pth", "8/255"): 122,
    ("cifar_marabou_medium.pth", "2/255"): 147,
}
"""Robust images of the first 500 that the figures published with the weights imply: upper bounds."""


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


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "eps"), list(PGD))
def test_pgd_is_at_or_below_the_published_bound(shared: Path, tmp_path: Path, weights: str, eps: str) -> None:
    rows = evaluate(shared, tmp_path, weights, eps, "{name: pgd, steps: 40}")
    assert rows[rows["position"] < 500]["robust"].sum() <= PGD[weights, eps] + 2


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
def test_autoattack_gives_the_official_verdicts(
    shared: Path, tmp_path: Path, weights: str, norm: str, eps: str
) -> None:
    stem = weights.rsplit(".", 1)[0]
    reference = np.load(shared / "reference" / f"{stem}_{norm}_{eps.replace('/', '-')}.npz")
    rows = evaluate(shared, tmp_path, weights, eps, "autoattack", norm)
    assert np.array_equal(rows["clean_correct"].to_numpy(), reference["clean_correct"])
    assert abs(int(rows["robust"].sum()) - int(reference["robust"].sum())) <= 1
    assert (rows["robust"].to_numpy() != reference["robust"]).sum() <= 2


def test_pgd_on_a_model_that_breaks(shared: Path, tmp_path: Path) -> None:
    rows = evaluate(shared, tmp_path, "cifar_sgd_8px.pth", "8/255", "{name: pgd, steps: 20}")
    assert rows["robust"].sum() <= 1
    assert rows["linf"].max() <= 8 / 255 + 1e-6
    assert rows[rows["clean_correct"]]["forwards"].mean() < 6


def test_the_reference_attacks_first_stage_agrees_with_the_official_number(shared: Path, tmp_path: Path) -> None:
    attack = "{name: autoattack, version: custom, attacks: [apgd-ce]}"
    rows = evaluate(shared, tmp_path, "resnet2b.pth", "2/255", attack)
    assert abs(int(rows["robust"].sum()) - 282) <= 1
