"""Cards of the zoo: what each model is, read without torch."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from bench.errors import ModelError

FOLDER = Path(__file__).parent


class Card(BaseModel):
    """The part of a card that loading a model needs; training writes more, for people.

    ``weights`` is a file beside the card, or ``package:path`` for one that an installed package ships.
    ``recipe_sha256`` is the digest of the recipe that they were trained from; the weights of others have none.
    ``task`` says whether the network gives logits, of ``num_classes`` classes, or images (restoration: a denoiser).
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    description: str
    architecture: str
    architecture_args: dict[str, Any]  # Any: the architecture's own parameters
    task: Literal["classification", "restoration"] = "classification"
    num_classes: int | None = None
    input_shape: tuple[int, int, int]
    weights: str
    weights_sha256: str
    recipe_sha256: str = ""

    @model_validator(mode="after")
    def _classes_of_classifiers(self) -> Card:
        if (self.task == "classification") != (self.num_classes is not None):
            raise ValueError("num_classes stands on the card of a classifier, and on no other")
        return self

    @property
    def path(self) -> Path:
        """The file of weights."""
        package, colon, path = self.weights.partition(":")
        if not colon:
            return FOLDER / self.weights
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModelError(f"zoo:{self.name}: its weights come with {package}, which isn't installed")
        return Path(spec.origin).parent / path


@cache
def cards() -> dict[str, Card]:
    """Every card, by the model's name.

    Raises:
        ModelError: if a card is damaged.
    """
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        try:
            found[path.stem] = Card.model_validate_json(path.read_bytes())
        except (ValidationError, OSError) as error:
            raise ModelError(f"{path}: not a card of the zoo: {error}") from error
    return found


def of(task: Literal["classification", "restoration"]) -> dict[str, Card]:
    """The cards of classifiers (classification) or of denoisers (restoration), by the model's name."""
    return {name: card for name, card in cards().items() if card.task == task}


def facts() -> dict[str, dict[str, Any]]:  # Any: facts, read by name
    """What a suite is checked against: classes, shape and a summary of each classifier."""
    return {
        name: {"num_classes": card.num_classes, "shape": card.input_shape, "summary": card.description}
        for name, card in of("classification").items()
    }


def denoisers() -> dict[str, str]:
    """The denoisers by name, and how each is used: they are no models to attack."""
    return {
        name: "is a denoiser: it gives images, not logits; use it as a defense "
        f"({{name: {card.architecture}, weights: zoo:{name}}})"
        for name, card in of("restoration").items()
    }
