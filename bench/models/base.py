"""What a source of models offers: finding the weights cheaply, then building the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from torch import nn

from bench.suites.places import Places
from bench.suites.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Setting:
    """The part of a suite that a source of models may need to know.

    Attributes:
        dataset: name of the dataset, such as cifar10.
        norm: norm of the (first) threat model.
        num_classes: classes of the dataset.
        shape: (C, H, W) of one image.
    """

    dataset: str
    norm: str
    num_classes: int
    shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Located:
    """Weights that were found, and what they are, before anything large is loaded.

    Attributes:
        path: the file; ``None`` where a library holds the weights.
        weights_digest: sha256 of the file, or of the tensors where there is no file.
        architecture_digest: sha256 of the code that builds the network (source of the module, or library and version).
        published: ``(dataset, threat model, entry)`` of RobustBench's leaderboard, where the model is one of its.
        note: what a reader of the number must know.
        recipe: digest of the recipe that they were trained from, where a card says it.
    """

    path: Path | None
    weights_digest: str
    architecture_digest: str
    published: tuple[str, str, str] | None = None
    note: str = ""
    recipe: str = ""


class ModelSource(Protocol):
    """One source of models (robustbench, timm, checkpoint, zoo)."""

    name: ClassVar[str]

    def locate(self, spec: ModelSpec, setting: Setting, places: Places) -> Located:
        """Finds the weights and takes their digest; downloads them where the places allow it.

        Raises:
            ModelUnavailable: where they can't be had; the message says what to do.
            ModelError: where the spec can't work.
            UnsafeWeights: where they would have to be unpickled and the user hasn't allowed that file.
        """
        ...

    def build(self, spec: ModelSpec, setting: Setting, places: Places, located: Located) -> nn.Module:
        """The network in eval mode on the CPU; takes images in [0, 1]; what the source knows of normalisation is inside.

        ``spec.mean`` and ``spec.std`` are applied by the caller (:func:`bench.models.load`), once for every source.

        Raises:
            ModelError: where the weights don't fit the architecture (names the missing, unexpected and misshapen).
        """
        ...
