"""A recipe that trains in a second on real digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

MINI = """\
name: mini
dataset: {name: mnist, samples: 300, select: stratified}
test: {name: mnist, samples: 60}
architecture: {name: mnist_cnn, channels: [4, 8], hidden: 16}
method: {name: pgd, norm: linf, eps: 0.1, steps: 2, eps_warmup: 1}
epochs: 3
batch_size: 64
optimizer: {name: adam, lr: 0.005}
schedule: {name: cosine, warmup: 0.2}
augmentation: {shift: 1, rotation: 10}
weight_average: 0.9
seed: 3
threads: 1
evaluation: {threat_models: ["linf:0.1"], attacks: [{name: pgd, steps: 5}], samples: 20}
"""


@pytest.fixture
def mini(tmp_path: Path) -> Path:
    """A small recipe of adversarial training."""
    path = tmp_path / "mini.yaml"
    path.write_text(MINI)
    return path


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a recipe's text to a file."""

    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write
