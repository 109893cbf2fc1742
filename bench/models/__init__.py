"""Models: images in [0, 1] to logits. One file per source of weights.

``locate`` finds the weights and takes their digest, ``load`` gives the network behind the wrapper that counts its
passes. A plugin's model is a function ``build(**args) -> nn.Module`` with trained weights; its normalisation is inside,
or in the suite's mean and std.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.models.parameters import Parameters, RobustbenchParameters
from bench.models.zoo.cards import denoisers as zoo_denoisers
from bench.models.zoo.cards import facts as zoo_facts
from bench.registry import Entry

if TYPE_CHECKING:
    import torch

    from bench.models.base import Located, Setting
    from bench.models.wrapper import CountedModel
    from bench.suites.places import Places
    from bench.suites.spec import ModelSpec

TABLE: dict[str, Entry] = {
    "robustbench": Entry(
        "bench.models.robustbench:Robustbench",
        "RobustBench's model zoo, through its own loader: robustbench:Wong2020Fast",
        RobustbenchParameters,
        paper="Croce et al. 2021, arXiv:2010.09670",
        facts={"needs": ("name",), "takes": ("name", "directory", "threat_model", "sha256")},
    ),
    "timm": Entry(
        "bench.models.timm:Timm",
        "pretrained models of timm, or their architecture with weights from a file: timm:resnet50",
        Parameters,
        paper="Wightman 2019, doi:10.5281/zenodo.4414861",
        facts={"needs": ("name",), "takes": ("name", "weights", "key", "sha256", "mean", "std")},
    ),
    "checkpoint": Entry(
        "bench.models.checkpoint:Checkpoint",
        "weights from a file (safetensors, or a state dict saved by torch) for an architecture by name",
        Parameters,
        facts={
            "needs": ("weights", "architecture"),
            "takes": ("weights", "key", "sha256", "architecture", "architecture_args", "mean", "std"),
        },
    ),
    "trained": Entry(
        "bench.models.trained:Trained",
        "what bench train wrote, with the architecture of its card: trained:models/mnist_pgd.safetensors",
        Parameters,
        facts={"needs": ("weights",), "takes": ("weights", "sha256")},
    ),
    "recipe": Entry(
        "bench.models.recipe:Recipe",
        "a recipe of bench train, which bench run trains where its weights are missing: recipe:recipes/mnist_pgd.yaml",
        Parameters,
        facts={"needs": ("recipe",), "takes": ("recipe", "sha256")},
    ),
    "zoo": Entry(
        "bench.models.zoo.source:Zoo",
        "small trained models that ship with bench and with the packages it needs: zoo:mnist_standard",
        Parameters,
        facts={
            "needs": ("name",),
            "takes": ("name", "sha256"),
            "models": zoo_facts(),
            "elsewhere": zoo_denoisers(),
        },
    ),
}


def locate(spec: ModelSpec, setting: Setting, places: Places) -> Located:
    """Finds a model's weights and takes their digest; downloads them where the places allow it.

    Args:
        spec: the model.
        setting: dataset, norm, classes and shape that it is for.
        places: where weights lie, and what is allowed.

    Raises:
        UnknownNameError: for a source, architecture or model that no table knows.
        ModelUnavailable: where the weights can't be had.
        ModelError: where the spec can't work, or the file isn't what it should be.
        UnsafeWeights: where they would have to be unpickled and the user hasn't allowed that file.
    """
    from bench.models.loading import source_of

    return source_of(spec).locate(spec, setting, places)


def load(spec: ModelSpec, setting: Setting, places: Places, *, device: torch.device | str) -> CountedModel:
    """The model on a device, in eval mode, its passes counted.

    Args:
        spec: the model.
        setting: dataset, norm, classes and shape that it is for.
        places: where weights lie, and what is allowed.
        device: where it runs.

    Raises:
        BenchError: as :func:`locate`, and where the weights don't fit the architecture.
    """
    from bench.models.loading import build

    return build(spec, setting, places).to(device)
