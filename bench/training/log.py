"""What happened in each epoch, for programs: lines of JSON, and TensorBoard's files where they are asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.store import atomic


class Log:
    """One line of JSON for each epoch; a resumed training goes on where its state is.

    Args:
        path: ``<name>.log.jsonl``.
        epochs: done already: later lines, of epochs that will be done again, are dropped.
        tensorboard: directory of TensorBoard's event files; ``None`` for none.

    Raises:
        BenchError: where TensorBoard's package isn't installed.
        StoreError: where the file can't be written.
    """

    def __init__(self, path: Path, *, epochs: int, tensorboard: Path | None = None) -> None:
        self.path, self._writer = path, _writer(tensorboard, epochs) if tensorboard is not None else None
        self._lines = [line for line in _lines(path) if json.loads(line)["epoch"] <= epochs]

    def write(self, epoch: int, numbers: dict[str, float | None]) -> None:
        """Adds an epoch; numbers that are ``None`` weren't measured."""
        there = {key: value for key, value in numbers.items() if value is not None}
        self._lines.append(json.dumps({"epoch": epoch, **there}))
        atomic.write_text(self.path, "\n".join(self._lines) + "\n")
        if self._writer is not None:
            for key, value in there.items():
                self._writer.add_scalar(key, value, epoch)
            self._writer.flush()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _writer(directory: Path, epochs: int) -> Any:  # Any: torch's SummaryWriter, which needs another package
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BenchError(
            "--tensorboard: the package tensorboard isn't installed (pip install 'robustness-bench[train]')"
        ) from error
    return SummaryWriter(str(directory), purge_step=epochs + 1)
