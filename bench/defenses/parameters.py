"""The parameters of every defense: defaults in this one place, no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


def _odd(value: int, info: ValidationInfo) -> int:
    if value % 2 == 0:
        raise ValueError(f"{info.field_name} must be odd, got {value}")
    return value


Odd = Annotated[int, AfterValidator(_odd)]
"""A width in pixels that has a middle."""


class DefenseParams(BaseModel):
    """Base of the defenses' parameters: immutable, unknown ones refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GaussianBlurParams(DefenseParams):
    """Parameters of Gaussian blur."""

    kernel_size: Odd = Field(3, ge=3, description="width of the kernel in pixels, odd")
    sigma: float = Field(1.0, gt=0, description="standard deviation of the kernel in pixels")


class BitDepthParams(DefenseParams):
    """Parameters of bit-depth reduction."""

    bits: int = Field(4, ge=1, le=7, description="bits that are kept of each pixel's 8")


class JPEGParams(DefenseParams):
    """Parameters of JPEG compression."""

    quality: int = Field(75, ge=1, le=100, description="libjpeg's quality")


class MedianBlurParams(DefenseParams):
    """Parameters of the median filter."""

    kernel_size: Odd = Field(3, ge=3, description="width of the window in pixels, odd")


class BilateralBlurParams(DefenseParams):
    """Parameters of the bilateral filter."""

    kernel_size: Odd = Field(5, ge=3, description="width of the window in pixels, odd")
    sigma_color: float = Field(
        0.1, gt=0, description="standard deviation over the sum of the channels' differences, pixels in [0, 1]"
    )
    sigma_space: float = Field(1.5, gt=0, description="standard deviation over the distance in pixels")


class TotalVariationParams(DefenseParams):
    """Parameters of total-variation minimisation."""

    weight: float = Field(0.05, gt=0, description="weight of the total variation: the larger, the smoother")


class NonLocalMeansParams(DefenseParams):
    """Parameters of non-local means."""

    patch_size: Odd = Field(3, ge=3, description="width of the patches that are compared, in pixels, odd")
    patch_distance: int = Field(5, ge=1, description="how far away patches are looked for, in pixels")
    h: float = Field(0.05, gt=0, description="how much patches may differ, pixels in [0, 1]: the larger, the smoother")
    sigma: float = Field(0.0, ge=0, description="standard deviation of the noise, taken off the patches' distances")


class WaveletParams(DefenseParams):
    """Parameters of wavelet denoising (BayesShrink)."""

    wavelet: Literal["haar", "db1", "db2", "db3", "db4", "sym2", "sym3", "sym4", "coif1"] = Field(
        "db1", description="an orthogonal wavelet, in PyWavelets' words"
    )
    mode: Literal["soft", "hard"] = Field("soft", description="how coefficients are thresholded")
    levels: int | None = Field(
        None, ge=1, description="levels of the decomposition; null for three less than the most, at least 1"
    )
    sigma: float | None = Field(
        None, ge=0, description="standard deviation of the noise; null to estimate it in every channel"
    )


class DnCNNParams(DefenseParams):
    """Parameters of the denoising network DnCNN."""

    weights: str = Field(
        min_length=1,
        description="file of weights: 3x3 convolutions with bias, named model.0, model.2, ... (.safetensors, .pt, .pth)",
    )


class DenoisingAutoencoderParams(DefenseParams):
    """Parameters of the denoising autoencoder."""

    weights: str = Field(
        "zoo:mnist_denoiser",
        min_length=1,
        description="zoo:NAME, or a file that `bench train` wrote with the method denoise (.safetensors, .pt, .pth)",
    )


class RandomNoiseParams(DefenseParams):
    """Parameters of additive Gaussian noise."""

    std: float = Field(0.05, gt=0, description="standard deviation of the noise, pixels in [0, 1]")


class RandomResizePadParams(DefenseParams):
    """Parameters of random resizing and padding."""

    min_scale: float = Field(
        0.9, gt=0, le=1, description="smallest size an image may get, relative to its own, rounded down to pixels"
    )


class PixelDeflectionParams(DefenseParams):
    """Parameters of pixel deflection."""

    deflections: int = Field(
        100, ge=1, lt=1 << 20, description="pixels that are replaced in each image, drawn with repetition"
    )
    window: int = Field(10, ge=1, description="how far away in rows and columns the replacing pixel may lie, in pixels")


class GradientKillerParams(DefenseParams):
    """The gradient killer has no parameters."""
