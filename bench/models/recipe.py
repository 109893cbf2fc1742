"""The source ``recipe:``: a recipe that is trained where its weights are missing."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from bench.errors import ModelUnavailable
from bench.models.base import Located, Setting
from bench.suites.places import Places
from bench.suites.spec import ModelSpec


class Recipe:
    """``recipe:recipes/NAME.yaml``: in a suite, :mod:`bench.training.suite_recipes` puts the trained weights in its place."""

    name: ClassVar[str] = "recipe"

    def locate(self, spec: ModelSpec, setting: Setting, places: Places) -> Located:
        """A recipe has no weights of its own."""
        _refuse(spec)

    def build(self, spec: ModelSpec, setting: Setting, places: Places, located: Located) -> NoReturn:
        """As :meth:`locate`."""
        _refuse(spec)


def _refuse(spec: ModelSpec) -> NoReturn:
    raise ModelUnavailable(
        f"{spec.recipe}: a recipe is trained in a run alone; train it (bench train) and name its weights (trained:FILE)"
    )
