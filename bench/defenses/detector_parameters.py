"""The parameters of every detector: defaults in this one place, no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from bench.defenses.parameters import DefenseParams
from bench.suites.short_forms import parse_eps

_SHAPE = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, {"type": "string", "pattern": "^[0-9./ ]+$"}]
}
Radius = Annotated[float, BeforeValidator(lambda value: float(parse_eps(value)))]
"""A radius in [0, 1] units; YAML may write it as a fraction."""


def as_radius(schema: dict[str, Any]) -> None:  # Any: JSON values
    """A fraction is text in YAML."""
    for key in ("type", "exclusiveMinimum", "maximum"):
        schema.pop(key, None)
    schema.update(_SHAPE)


class DetectorParams(DefenseParams):
    """What every detector takes."""

    fpr: float = Field(
        0.05, gt=0, lt=1, description="the share of clean images that may be rejected; it sets the threshold"
    )


class FeatureSqueezingParams(DetectorParams):
    """Parameters of feature squeezing."""

    bits: int = Field(5, ge=1, le=7, description="bits that are kept of each pixel's 8; 1 for black and white digits")
    kernel: Literal[2, 3] = Field(2, description="width of the median filter in pixels")
    non_local_means: float | None = Field(
        None,
        gt=0,
        description="h of a third squeezer, non-local means over 11x11 pixels with 3x3 patches; none where it isn't given",
    )


class InputStatisticsParams(DetectorParams):
    """Parameters of the statistics of pixels."""

    kind: Literal["pixel_distribution", "spectral_entropy", "high_frequency"] = Field(
        "pixel_distribution",
        description="what is measured: the histogram of pixels, the entropy of the power spectrum, or its share above radius",
    )
    bins: int = Field(32, ge=2, le=256, description="pixel_distribution: bins of the histogram")
    radius: float = Field(
        0.5, gt=0, lt=1, description="high_frequency: the frequency that counts as high, as a share of Nyquist's"
    )


class MahalanobisParams(DetectorParams):
    """Parameters of the Mahalanobis distance."""

    shrinkage: float | None = Field(
        None,
        ge=0,
        le=1,
        description="weight of the scaled identity in the covariance; Ledoit and Wolf's choice where it isn't given",
    )


class LIDParams(DetectorParams):
    """Parameters of the local intrinsic dimensionality."""

    k: int = Field(20, ge=2, description="nearest clean neighbours")


class AuxiliaryHeadParams(DetectorParams):
    """Parameters of the auxiliary head."""

    hidden: int = Field(64, ge=1, description="width of the hidden layer")
    epochs: int = Field(200, ge=1, description="passes over the training images")
    lr: float = Field(0.01, gt=0, description="Adam's learning rate")
    seed: int = Field(0, ge=0, description="of the first weights")
    eps: Radius = Field(
        8 / 255,
        gt=0,
        le=1,
        description="Linf radius of the examples that it learns from, such as 8/255",
        json_schema_extra=as_radius,
    )
    steps: int = Field(5, ge=1, description="steps of the attack that makes them; 1 is FGSM")
