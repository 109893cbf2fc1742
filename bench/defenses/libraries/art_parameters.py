"""The parameters of ART's defenses: ART's own names and defaults in this one place, no torch.

What a suite doesn't set is in :data:`OWNED`. The detectors' examples and networks are ours, where ART leaves them to its
caller; so are the parameters that say what they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from bench.defenses.detector_parameters import DetectorParams, Radius, as_radius
from bench.defenses.parameters import DefenseParams

OWNED: Mapping[str, Any] = {
    "clip_values": (0.0, 1.0),
    "channels_first": True,
    "apply_fit": False,
    "apply_predict": True,
    "augmentation": False,
    "ratio": 1.0,
    "device_type": "cpu",
    "verbose": False,
}
"""Parameters that the harness sets: images in [0, 1] as (C, H, W), applied to what is predicted, nothing but the image."""


class FeatureSqueezingParams(DefenseParams):
    """Parameters of art.FeatureSqueezing."""

    bit_depth: int = Field(8, ge=1, le=64, description="bits that are kept of each pixel")


class SpatialSmoothingParams(DefenseParams):
    """Parameters of art.SpatialSmoothing and of its version in torch."""

    window_size: int = Field(3, ge=1, description="width of the window in pixels")


class JpegCompressionParams(DefenseParams):
    """Parameters of art.JpegCompression."""

    quality: int = Field(50, ge=1, le=100, description="libjpeg's quality")


class TotalVarMinParams(DefenseParams):
    """Parameters of art.TotalVarMin."""

    prob: float = Field(0.3, ge=0, le=1, description="probability that a pixel is one that the result has to match")
    norm: int = Field(2, ge=1, description="norm of the differences between rows and columns")
    lamb: float = Field(0.5, ge=0, description="weight of the total variation")
    solver: Literal["L-BFGS-B", "CG", "Newton-CG"] = Field("L-BFGS-B", description="SciPy's minimiser")
    max_iter: int = Field(10, ge=1, description="iterations for each channel")


class GaussianAugmentationParams(DefenseParams):
    """Parameters of art.GaussianAugmentation."""

    sigma: float = Field(1.0, gt=0, description="standard deviation of the noise, pixels in [0, 1]")


class CutoutParams(DefenseParams):
    """Parameters of art.Cutout and of its version in torch."""

    length: int = Field(
        ge=2, description="width of the square that is cut out, in pixels; an odd one counts as one less"
    )


class ClassLabelsParams(DefenseParams):
    """art.ClassLabels has no parameters."""


class GaussianNoiseParams(DefenseParams):
    """Parameters of art.GaussianNoise."""

    scale: float = Field(0.2, gt=0, description="standard deviation of the noise on the probabilities")


class HighConfidenceParams(DefenseParams):
    """Parameters of art.HighConfidence."""

    cutoff: float = Field(0.25, gt=0, le=1, description="probability that a class must have to be answered")


class ReverseSigmoidParams(DefenseParams):
    """Parameters of art.ReverseSigmoid."""

    beta: float = Field(1.0, gt=0, description="size of the perturbation")
    gamma: float = Field(0.1, gt=0, description="slope of the perturbation in the log-odds")


class RoundedParams(DefenseParams):
    """Parameters of art.Rounded."""

    decimals: int = Field(3, ge=1, description="decimal places that are kept of the probabilities")


class TrainedDetectorParams(DetectorParams):
    """Parameters of ART's detectors that are a network of two classes."""

    batch_size: int = Field(128, ge=2, description="images of a training step")
    nb_epochs: int = Field(20, ge=1, description="passes over the training images")
    lr: float = Field(0.01, gt=0, description="Adam's learning rate")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of the first weights and the order of the images")
    eps: Radius = Field(
        8 / 255,
        gt=0,
        le=1,
        description="Linf radius of the examples that it learns from, such as 8/255",
        json_schema_extra=as_radius,
    )
    steps: int = Field(5, ge=1, description="steps of the attack that makes them; 1 is FGSM")


class SubsetScanningDetectorParams(DetectorParams):
    """Parameters of art.SubsetScanningDetector."""

    scoring_function: Literal["BerkJones", "HigherCriticism", "KolmarovSmirnov"] = Field(
        "BerkJones", description="how improbable a set of activations is"
    )
