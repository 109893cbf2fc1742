"""The source ``trained:``: weights that ``bench train`` wrote, and the card beside them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError
from torch import nn

from bench.errors import ModelError, ModelUnavailable
from bench.models import state_dict, weights
from bench.models.architectures import building
from bench.models.base import Located, Setting
from bench.models.zoo.cards import Card
from bench.suites.places import Places
from bench.suites.spec import ModelSpec


class Trained:
    """``trained:models/NAME.safetensors``; the card says the architecture and the digest that the weights must have."""

    name: ClassVar[str] = "trained"

    def locate(self, spec: ModelSpec, setting: Setting, places: Places) -> Located:
        """Finds weights and card, and checks one against the other and both against the dataset."""
        path = _path(spec)
        digest = weights.require(path, spec.sha256)
        card = _card(path)
        if card.weights_sha256 != digest:
            raise ModelError(
                f"{path}: the card {path.with_suffix('.json').name} is that of other weights "
                f"({card.weights_sha256[:12]}..., these are {digest[:12]}...); train them again"
            )
        if card.num_classes != setting.num_classes or card.input_shape != setting.shape:
            raise ModelError(
                f"{path} is for images of shape {card.input_shape} and {card.num_classes} classes; "
                f"{setting.dataset} has shape {setting.shape} and {setting.num_classes} classes"
            )
        code = building.code_digest(card.architecture, card.architecture_args)
        return Located(path, digest, code, recipe=card.recipe_sha256)

    def build(self, spec: ModelSpec, setting: Setting, places: Places, located: Located) -> nn.Module:
        """The network of the card, with the weights."""
        path = _path(spec)
        card = _card(path)
        network = building.build(card.architecture, card.architecture_args, num_classes=setting.num_classes)
        found = state_dict.find(weights.read(path, places), None, path)
        state_dict.load_strictly(network, found.state, f"{path} into {card.architecture}")
        return network.eval()


def _path(spec: ModelSpec) -> Path:
    if spec.weights is None:
        raise ModelError(f"{spec.id}: trained needs weights")
    return Path(spec.weights).expanduser()


def _card(path: Path) -> Card:
    """The card beside the weights, of a classifier."""
    beside = path.with_suffix(".json")
    try:
        card = Card.model_validate_json(beside.read_bytes())
    except OSError as error:
        raise ModelUnavailable(
            f"{beside}: no card beside the weights: {error.strerror}; give checkpoint:{path} its architecture instead"
        ) from error
    except ValidationError as error:
        raise ModelError(f"{beside}: not a card of bench train: {error}") from error
    if card.task != "classification":
        raise ModelError(f"{path} is a denoiser: it gives images, not logits; use it as a defense")
    return card
