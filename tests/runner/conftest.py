"""Small suites on real digits, and models that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

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
