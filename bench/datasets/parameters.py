"""The parameters of each dataset, written beside ``name`` in a suite. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Layout = Literal["auto", "nchw", "nhwc"]


class Parameters(BaseModel):
    """Base of the parameters: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ArrayParameters(Parameters):
    """How images lie in an npz file or a pair of npy files."""

    x_key: str = Field("x", description="name of the images in an npz file")
    y_key: str = Field("y", description="name of the labels in an npz file")
    labels: str | None = Field(
        None, description="npy file of labels, where path is an npy file of images; relative to that file's directory"
    )
    layout: Layout = Field(
        "auto", description="order of an image's axes in the file; auto looks where 1 or 3 channels are"
    )


class TableParameters(Parameters):
    """How images lie in a parquet file."""

    image_column: str | None = Field(
        None, description="column of encoded images (bytes, or a struct with bytes); image or img where it isn't given"
    )
    label_column: str | None = Field(None, description="column of labels; label or fine_label where it isn't given")


class ClassParameters(Parameters):
    """What a file of images doesn't tell."""

    num_classes: int | None = Field(
        None, ge=2, description="number of classes; the largest label + 1 where it isn't given"
    )
    class_names: tuple[str, ...] = Field((), description="names of the classes, for plots")

    @model_validator(mode="after")
    def _agree(self) -> ClassParameters:
        if self.class_names and self.num_classes is not None and len(self.class_names) != self.num_classes:
            raise ValueError(f"class_names has {len(self.class_names)} names for num_classes {self.num_classes}")
        return self


class KnownParameters(ArrayParameters, TableParameters):
    """MNIST, Fashion-MNIST and CIFAR: how the file lies that ``path`` names."""


class NpzParameters(ArrayParameters, ClassParameters):
    """Any npz file, or a pair of npy files."""


class ParquetParameters(TableParameters, ClassParameters):
    """Any parquet file of images."""


class ImageFolderParameters(Parameters):
    """A folder with one directory per class."""

    resize: int | tuple[int, int] | None = Field(
        None, description="length of the shorter side, or (height, width), in pixels; as they are where it isn't given"
    )
    crop: int | None = Field(None, ge=1, description="side of the centre crop after the resize, in pixels")
    interpolation: Literal["bilinear", "bicubic"] = Field(
        "bilinear", description="how images are resized (with antialiasing)"
    )
    channels: Literal[1, 3] = Field(3, description="grey or colour")


class ImagenetParameters(Parameters):
    """ImageNet's validation folder, read as RobustBench does."""

    preprocessing: Literal["Res256Crop224", "BicubicRes256Crop224", "Res224", "Crop288", "none"] = Field(
        "Res256Crop224", description="RobustBench's preprocessing, by its name"
    )
    images: Literal["robustbench5000", "all"] = Field(
        "robustbench5000", description="RobustBench's own list of 5,000 validation images in its order, or all 50,000"
    )
