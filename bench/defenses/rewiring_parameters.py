"""The parameters of the rewirings: defaults in this one place, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from bench.defenses.parameters import DefenseParams
from bench.suites.spec import ModelSpec


class LogitTemperatureParams(DefenseParams):
    """Parameters of the logit temperature."""

    temperature: float = Field(0.001, ge=1e-6, le=1e6, description="what the logits are divided by")


class KWTAParams(DefenseParams):
    """Parameters of k-winners-take-all."""

    ratio: float = Field(
        0.2, gt=0, le=1, description="share of each layer's activations that is kept, per image; at least one is"
    )


class TestTimeAugmentationParams(DefenseParams):
    """Parameters of test-time augmentation."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    flip: bool = Field(True, description="whether the horizontal flip is asked, too (not for digits or letters)")
    shift: int = Field(
        1, ge=0, description="pixels by which the image is shifted left, right, up and down; 0 for no shifts"
    )
    mode: Literal["mean", "vote"] = Field(
        "mean", description="mean of the probabilities, or a vote whose ties the mean decides"
    )

    @model_validator(mode="after")
    def _something_to_vote_on(self) -> Self:
        if not self.flip and self.shift == 0:
            raise ValueError("there is nothing beside the image itself: set flip to true or shift above 0")
        return self


class EnsembleParams(DefenseParams):
    """Parameters of an ensemble."""

    members: tuple[ModelSpec, ...] = Field(
        min_length=1, description="the models that answer together with the row's own, in the words of models"
    )
    combine: Literal["mean_probability", "mean_logits", "vote"] = Field(
        "mean_probability",
        description="mean of the probabilities or of the logits, or a vote whose ties the former decides",
    )

    @field_validator("members", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str | Mapping) else value


class SmoothingParams(DefenseParams):
    """Parameters of randomised smoothing."""

    sigma: float = Field(0.25, gt=0, description="standard deviation of the noise, pixels in [0, 1]")
    n: int = Field(100, ge=1, description="noisy copies of a prediction")
    alpha: float = Field(
        0.001,
        gt=0,
        lt=0.5,
        description="probability that a prediction or a certificate is wrong; above it, it abstains",
    )
    n0: int = Field(100, ge=1, description="noisy copies that choose the class of a certificate")
    n_certify: int = Field(1000, ge=1, description="noisy copies that bound its probability")
    attack_draws: int = Field(8, ge=1, description="noisy copies whose mean the adaptive adversary attacks")

    @model_validator(mode="after")
    def _enough_copies(self) -> Self:
        """Unanimous copies must be able to convince: the test's 2 / 2 ** n, the bound's alpha ** (1 / n)."""
        least = math.ceil(1 - math.log2(self.alpha))
        if self.n < least:
            raise ValueError(
                f"n: {self.n} copies never reach alpha {self.alpha:g}, even unanimous; accepted: {least} or more"
            )
        least = math.floor(-math.log2(self.alpha)) + 1
        if self.n_certify < least:
            raise ValueError(
                f"n_certify: {self.n_certify} copies never certify at alpha {self.alpha:g}; accepted: {least} or more"
            )
        return self
