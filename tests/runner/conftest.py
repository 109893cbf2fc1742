"""Small suites on real digits, and models that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.registry import ALL
from bench.runner.options import RunSettings
from bench.runner.run import RunSummary, run_suite
from bench.suites.load import load_suite
from bench.suites.places import Places

SUITE = """
name: small
dataset: {{name: mnist, samples: {samples}}}
threat_models:
  - {{norm: linf, eps: {eps}}}
models: [{models}]
attacks: [{attacks}]
defenses: [{defenses}]
run: {{shard_size: {shard_size}}}
{more}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Callable[..., Path]:
    """Writes a suite and gives its path."""

    def write(
        *,
        samples: int = 20,
        eps: str = "0.2",
        models: str = "zoo:mnist_standard",
        attacks: str = "fgsm, {name: pgd, steps: 5}",
        defenses: str = "none",
        shard_size: int = 8,
        more: str = "",
    ) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(
            SUITE.format(
                samples=samples,
                eps=eps,
                models=models,
                attacks=attacks,
                defenses=defenses,
                shard_size=shard_size,
                more=more,
            )
        )
        return path

    return write


PLUGGED = """
name: plugged
dataset: {{name: mnist, samples: {samples}}}
threat_models: [{threat_model}]
models: [{models}]
attacks: [{attacks}]
defenses: [{defenses}]
adversaries: [{adversaries}]
run: {{shard_size: 6, gradient_free_queries: 0, detector_steps: 0}}
plugins: [mine.py]
{more}
"""


@pytest.fixture
def plugged(tmp_path: Path) -> Iterator[Callable[..., RunSummary]]:
    """Runs a suite with a plugin, whose text is given."""
    path = tmp_path / "mine.py"

    def run(plugin: str, **words: object) -> RunSummary:
        usual = {
            "samples": 14,
            "threat_model": "linf:0.15",
            "models": "zoo:mnist_standard",
            "attacks": "mine",
            "defenses": "none",
            "adversaries": "adaptive",
            "more": "",
        }
        path.write_text(plugin)
        (tmp_path / "suite.yaml").write_text(PLUGGED.format(**{**usual, **words}))
        places = Places(download=False, allow_plugins=True)
        settings = RunSettings(tmp_path / "results", device="cpu", places=places)
        return run_suite(load_suite(tmp_path / "suite.yaml"), settings)

    yield run
    for table in ALL.values():
        table.remove(str(path))
