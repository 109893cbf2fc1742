"""Audits of robust models that others trained: nothing to warn of, but for the one whose gradients really are masked."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.runner.audit import AuditSettings, audit_run
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.store.audit import Finding
from bench.store.outcomes import RowOutcome, read_outcomes
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

D = "mean: [.4914, .4822, .4465], std: [.2471, .2435, .2616]"
S = "mean: [0.491373, 0.482353, 0.446667], std: [0.247059, 0.243529, 0.261569]"
I = "mean: [.485, .456, .406], std: [.225, .225, .225]"  # noqa: E741 (its name in the list of weights)
MODELS = {
    "resnet2b.pth": ("2/255", f"architecture: resnet_2b, {D}"),
    "cifar_cnn_a_adv.model": ("2/255", f"architecture: wong_kolter, {S}"),
    "cifar_cnn_a_mix.model": ("2/255", f"architecture: wong_kolter, {S}"),
    "cifar_wide_kw.pth": ("2/255", f"architecture: wong_kolter, {I}"),
    "cifar_madry_8px.pth": ("8/255", f"architecture: wong_kolter, {I}"),
    "kw_cifar_small_8px.pth": ("8/255", f"architecture: wong_kolter, {I}"),
}
MASKED = "kw_cifar_small_8px.pth"
ATTACKS = ("{name: pgd, steps: 40}", "cascade")

pytestmark = pytest.mark.slow


def audited(shared: Path, tmp_path: Path, weights: str, attack: str) -> tuple[list[Finding], RowOutcome]:
    """What the audit of 128 images warns of, and the row."""
    eps, words = MODELS[weights]
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"""
name: healthy
dataset: {{name: cifar10, path: {shared}/cifar10/cifar10_test_0_511.npz, samples: 128}}
threat_models: [{{norm: linf, eps: {eps}}}]
models: [{{id: m, source: checkpoint, weights: {shared}/models/{weights}, {words}}}]
attacks: [{attack}]
"""
    )
    places = Places(download=False)
    summary = run_suite(load_suite(path), RunSettings(tmp_path / "results", device="cpu", places=places))
    assert [result.status for result in summary.results] == ["done"], summary.results[0].reason
    record = audit_run(summary.directory, AuditSettings(places, "cpu"))
    (row,) = read_outcomes(RunDirectory(summary.directory)).rows
    return [finding for finding in record.findings if finding.severity != "info"], row


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("weights", [name for name in MODELS if name != MASKED])
def test_a_robust_model_is_left_alone(shared: Path, tmp_path: Path, weights: str, attack: str) -> None:
    found, row = audited(shared, tmp_path, weights, attack)
    assert [(one.rule, one.message) for one in found] == []
    assert row.complete
    assert row.worst_correctness.sum() > 0


def test_a_model_whose_gradients_are_masked_is_flagged(shared: Path, tmp_path: Path) -> None:
    found, _ = audited(shared, tmp_path, MASKED, "{name: pgd, steps: 40}")
    assert "zero-gradient" in {one.rule for one in found}
