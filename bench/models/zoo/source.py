"""The source ``zoo:``: models that ship with bench and with the packages it needs."""

from __future__ import annotations

import difflib
from typing import ClassVar

from torch import nn

from bench.errors import ModelError, UnknownNameError
from bench.models import state_dict, weights
from bench.models.architectures import building
from bench.models.base import Located, Setting
from bench.models.zoo.cards import Card, cards, denoisers
from bench.suites.places import Places
from bench.suites.spec import ModelSpec


class Zoo:
    """``zoo:NAME``; the weights must have the digest that stands on the card."""

    name: ClassVar[str] = "zoo"

    def locate(self, spec: ModelSpec, setting: Setting, places: Places) -> Located:
        """Finds the card and checks the weights against it."""
        card = _card(spec)
        _check_setting(card, setting)
        digest = weights.require(card.path, card.weights_sha256)
        if spec.sha256 is not None and spec.sha256.lower() != digest:
            raise ModelError(f"{spec.id}: sha256: zoo:{card.name} has {digest}")
        code = building.code_digest(card.architecture, card.architecture_args)
        return Located(card.path, digest, code, recipe=card.recipe_sha256)

    def build(self, spec: ModelSpec, setting: Setting, places: Places, located: Located) -> nn.Module:
        """The network of the card."""
        card = _card(spec)
        network = building.build(card.architecture, card.architecture_args, num_classes=setting.num_classes)
        found = state_dict.find(weights.read(card.path, places), None, card.path)
        state_dict.load_strictly(network, found.state, f"zoo:{card.name}")
        return network.eval()


def _card(spec: ModelSpec) -> Card:
    known = cards()
    if spec.name not in known:
        name = str(spec.name)
        classifiers = sorted(each for each, card in known.items() if card.task == "classification")
        raise UnknownNameError("model of the zoo", name, difflib.get_close_matches(name, classifiers), classifiers)
    card = known[spec.name]
    if card.task != "classification":
        raise ModelError(f"zoo:{card.name} {denoisers()[card.name]}")
    return card


def _check_setting(card: Card, setting: Setting) -> None:
    if card.num_classes != setting.num_classes or card.input_shape != setting.shape:
        sees = f"images of shape {card.input_shape} and {card.num_classes} classes"
        there = f"{setting.dataset} has shape {setting.shape} and {setting.num_classes} classes"
        raise ModelError(f"zoo:{card.name} is for {sees}; {there}")
