"""The weights that a training starts from, where its recipe names some: adversarial fine-tuning of a trained model."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from bench.models import state_dict, weights
from bench.models.zoo.cards import cards
from bench.suites.places import Places

ZOO = "zoo:"


def path_of(init: str) -> Path:
    """The file of the weights.

    Args:
        init: ``zoo:NAME``, of a name that the zoo knows, or a file.
    """
    name = init.removeprefix(ZOO)
    return cards()[name].path if init != name else Path(init).expanduser()


def digest(init: str | None) -> str:
    """The sha256 of the file; empty without one.

    Raises:
        ModelUnavailable: if there is no such file.
        ModelError: if it can't be read, or has another digest than the card of the zoo says.
    """
    if init is None:
        return ""
    wanted = cards()[init.removeprefix(ZOO)].weights_sha256 if init.startswith(ZOO) else None
    return weights.require(path_of(init), wanted)


def fill(network: nn.Module, init: str | None, architecture: str, places: Places) -> nn.Module:
    """The network with these weights; as it is where there are none.

    Args:
        network: gets the weights.
        init: as in the recipe.
        architecture: its name, for messages.
        places: says whether the user trusts the file to be unpickled.

    Raises:
        ModelError: if the file can't be read, or its weights don't fit the network.
    """
    if init is not None:
        path = path_of(init)
        found = state_dict.find(weights.read(path, places), None, path)
        state_dict.load_strictly(network, found.state, f"init: {init} into {architecture}")
    return network
