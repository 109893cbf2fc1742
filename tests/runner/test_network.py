"""RobustBench's own weights and CIFAR-10, downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.runner.options import RunSettings
from bench.runner.run import run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places

pytestmark = pytest.mark.network


def test_wong2020fast_has_its_published_clean_accuracy(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        """
name: network
dataset: {name: cifar10, samples: 1000}
threat_models: linf:8/255
models: robustbench:Wong2020Fast
attacks: fgsm
"""
    )
    places = Places(model_dir=tmp_path / "models", data_dir=tmp_path / "data")
    summary = run_suite(load_suite(path), RunSettings(tmp_path / "results", places=places))
    result = summary.results[0]
    assert result.status == "done", result.reason
    clean = result.metrics["clean_accuracy"]
    assert clean.low is not None
    assert clean.high is not None
    assert clean.low <= 0.8334 <= clean.high
