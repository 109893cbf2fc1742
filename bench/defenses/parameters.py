"""The parameters of every defense: defaults in this one place, no torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class DefenseParams(BaseModel):
    """Base of the defenses' parameters: immutable, unknown ones refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GaussianBlurParams(DefenseParams):
    """Parameters of Gaussian blur."""

    kernel_size: int = Field(3, ge=3, description="width of the kernel in pixels, odd")
    sigma: float = Field(1.0, gt=0, description="standard deviation of the kernel in pixels")

    @field_validator("kernel_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"kernel_size must be odd, got {value}")
        return value


class BitDepthParams(DefenseParams):
    """Parameters of bit-depth reduction."""

    bits: int = Field(4, ge=1, le=7, description="bits that are kept of each pixel's 8")


class JPEGParams(DefenseParams):
    """Parameters of JPEG compression."""

    quality: int = Field(75, ge=1, le=100, description="libjpeg's quality")


class DenoisingAutoencoderParams(DefenseParams):
    """Parameters of the denoising autoencoder."""

    weights: str = Field(
        "zoo:mnist_denoiser",
        min_length=1,
        description="zoo:NAME, or a file that `bench train` wrote with the method denoise (.safetensors, .pt, .pth)",
    )
