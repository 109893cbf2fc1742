"""Weights from a file, for an architecture by name."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from torch import nn

from bench.errors import ModelError
from bench.models import state_dict, weights
from bench.models.architectures import building
from bench.models.base import Located, Setting
from bench.suites.places import Places
from bench.suites.spec import ModelSpec


class Checkpoint:
    """``checkpoint:``: ``weights`` (safetensors, or a state dict saved by torch) and ``architecture``."""

    name: ClassVar[str] = "checkpoint"

    def locate(self, spec: ModelSpec, setting: Setting, places: Places) -> Located:
        """Finds the file, checks that it holds a state dict, and takes its digest."""
        path, architecture = _given(spec)
        code = building.code_digest(architecture, spec.architecture_args)
        digest = weights.require(path, spec.sha256)
        found = state_dict.find(weights.read(path, places), spec.key, path)
        return Located(path, digest, code, note=found.note)

    def build(self, spec: ModelSpec, setting: Setting, places: Places, located: Located) -> nn.Module:
        """The architecture with the weights of the file."""
        path, architecture = _given(spec)
        network = building.build(architecture, spec.architecture_args, num_classes=setting.num_classes)
        found = state_dict.find(weights.read(path, places), spec.key, path)
        state_dict.load_strictly(network, found.state, f"{path} into {architecture}")
        return network.eval()


def _given(spec: ModelSpec) -> tuple[Path, str]:
    if spec.weights is None or spec.architecture is None:
        raise ModelError(f"{spec.id}: checkpoint needs weights and architecture")
    return Path(spec.weights).expanduser(), spec.architecture
