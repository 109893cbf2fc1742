"""Examples of real CIFAR-10 networks on each other: what one would expect of them, from images and weights of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.leaderboard.table import make
from bench.runner.audit import AuditSettings, audit_run
from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.store.run_directory import RunDirectory
from bench.suites.load import load_suite
from bench.suites.places import Places

WIDE = "source: checkpoint, architecture: wong_kolter, mean: [.485, .456, .406], std: [.225, .225, .225]"

pytestmark = pytest.mark.slow


def test_robust_networks_withstand_what_plain_ones_do_not(shared: Path, tmp_path: Path) -> None:
    models = ", ".join(
        f"{{id: {name}, {WIDE}, weights: {shared}/models/{file}}}"
        for name, file in (("plain", "cifar_sgd_8px.pth"), ("certified", "cifar_wide_kw.pth"))
    )
    path = tmp_path / "suite.yaml"
    path.write_text(
        f"""
name: crossing
dataset: {{name: cifar10, path: {shared}/cifar10/cifar10_test_0_511.npz, samples: 128}}
threat_models: ["linf:8/255"]
models: [{models}]
attacks: [{{name: pgd, steps: 20}}]
transfer: all
audit: {{samples: 0}}
"""
    )
    places = Places(download=False)
    summary = run_suite(load_suite(path), RunSettings(tmp_path / "results", device="cpu", places=places))
    record = audit_run(summary.directory, AuditSettings(places, "cpu"))
    assert [one.message for one in record.findings if one.rule == "transfer-stronger"] == []
    (matrix,) = make(RunDirectory(summary.directory)).transfers
    success = {
        (source, target): square.success.value
        for source, own in matrix.squares.items()
        for target, square in own.items()
        if square.success is not None and square.success.value is not None
    }
    assert success["plain", "plain"] >= 0.99
    assert success["certified", "certified"] >= 0.4
    for source, target in (("plain", "certified"), ("certified", "plain")):
        assert (
            success[source, target] < success[target, target]
        )  # white-box is stronger than transfer on healthy models
    # A robust network's examples look like the other class, and fool a plain one more than the other way round.
    assert success["certified", "plain"] > success["plain", "certified"]
