"""What the measurement of trained weights has found, on disk: one that was stopped or killed goes on with the next shard."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bench
from bench import registry
from bench.attacks.base import Attack
from bench.digests import value_digest
from bench.runner.facts import code_of
from bench.runner.provenance import version
from bench.stats import BoolArray
from bench.store import atomic
from bench.suites.spec import AttackSpec, ThreatModelSpec

_log = logging.getLogger(__name__)


class SavedVerdicts:
    """Which images of each finished shard withstood an attack, and the seconds that it took, until the card is written.

    Args:
        path: the file, JSON. One that can't be read is written over, as what it saved is only time.
        weights: sha256 of the weights that are measured.
        architecture: digest of the code that they are the weights of.
        images: digest of the dataset that they are measured on.
        device: where they are measured: in other arithmetic, a verdict may be another.
    """

    def __init__(self, path: Path, *, weights: str, architecture: str, images: str, device: torch.device) -> None:
        self.path = path
        self._about = {
            "weights": weights,
            "architecture": architecture,
            "images": images,
            "device": device.type,
            "threads": torch.get_num_threads() if device.type == "cpu" else 0,
            "bench": bench.__version__,
            "torch": torch.__version__,
        }
        self._shards = self._read()

    def key(self, attack: Attack, spec: AttackSpec, threat_model: ThreatModelSpec, sample_ids: Sequence[str]) -> str:
        """What a shard's verdicts depend on, beside the weights: a sha256."""
        return value_digest(
            {
                **self._about,
                "attack": spec.model_dump(mode="json"),
                "revision": attack.revision,
                "code": code_of(registry.attacks.entry(spec.name)),
                "libraries": {name: version(name) for name in attack.library},
                "threat_model": threat_model.model_dump(mode="json"),
                "samples": list(sample_ids),
            }
        )

    def find(self, key: str, count: int) -> tuple[BoolArray, float] | None:
        """What was found of the shard's ``count`` images, shape (count,), and the seconds; ``None`` where nothing was, or what
        stands there can't be their verdicts.
        """
        found = self._shards.get(key)
        if found is None or len(found["unbroken"]) != count or set(found["unbroken"]) - set("01"):
            return None
        verdicts: BoolArray = np.array([letter == "1" for letter in found["unbroken"]], dtype=np.bool_)
        return verdicts, float(found["seconds"])

    def save(self, key: str, unbroken: BoolArray, seconds: float) -> None:
        """Keeps a shard's verdicts, on disk when it returns.

        Raises:
            StoreError: if the file can't be written.
        """
        self._shards[key] = {"unbroken": "".join("01"[bool(one)] for one in unbroken), "seconds": seconds}
        atomic.write_text(self.path, json.dumps(self._shards) + "\n")

    def forget(self) -> None:
        """Removes the file, if there is one."""
        self._shards = {}
        with atomic.explained(self.path):
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, dict[str, Any]]:  # Any: JSON
        try:
            shards = json.loads(self.path.read_text(encoding="utf-8")).items()
            return {key: {"unbroken": str(one["unbroken"]), "seconds": float(one["seconds"])} for key, one in shards}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("%s can't be read (%s): everything is measured anew", self.path, error)
            return {}
