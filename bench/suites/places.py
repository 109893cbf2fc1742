"""Where things lie on this machine: directories of weights and data, and what the user has allowed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """Directories and permissions for loading models and data; none of it is part of a cell's identity.

    Attributes:
        model_dir: where RobustBench keeps weights (``<dir>/<dataset>/<threat model>/<id>.pt``), and what a suite's
            recipes are trained into; ``BENCH_MODEL_DIR``, else ``models``.
        data_dir: where datasets lie or are downloaded to; ``BENCH_DATA_DIR``, else ``data``.
        download: whether what is missing may be downloaded.
        allow_pickle: resolved paths of weight files that the user trusts to be unpickled.
        allow_plugins: whether the plugin files of a suite may run.
    """

    model_dir: Path = field(default_factory=lambda: Path(os.environ.get("BENCH_MODEL_DIR", "models")))
    data_dir: Path = field(default_factory=lambda: Path(os.environ.get("BENCH_DATA_DIR", "data")))
    download: bool = True
    allow_pickle: frozenset[Path] = frozenset()
    allow_plugins: bool = False
