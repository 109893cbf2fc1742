"""What each part of a recipe may say, defaults in this one place; the methods have their own. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from bench.suites.spec import AttackSpec, ThreatModelSpec


class RecipePart(BaseModel):
    """Base of everything that a recipe says: immutable, unknown keys refused, booleans only where they are meant."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _booleans_where_meant(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic would read true as 1."""
        wanted = cls.model_fields[str(info.field_name)].annotation is bool
        if isinstance(value, bool) and not wanted:
            raise ValueError(f"{str(value).lower()} is not wanted here")
        return value


class Optimizer(RecipePart):
    """The optimizer and its peak learning rate."""

    name: Literal["sgd", "adam"] = Field(
        "adam", description="sgd (with momentum), or adam (with decoupled weight decay)"
    )
    lr: float = Field(0.001, gt=0, description="the highest learning rate of the schedule")
    momentum: float | None = Field(None, ge=0, lt=1, description="momentum of sgd; 0.9 where it isn't given")
    weight_decay: float = Field(0.0, ge=0, description="weight decay")

    @model_validator(mode="after")
    def _momentum_of_sgd(self) -> Optimizer:
        if self.name != "sgd" and self.momentum is not None:
            raise ValueError(f"momentum belongs to sgd, not to {self.name}")
        return self


class Schedule(RecipePart):
    """How the learning rate goes over the training."""

    name: Literal["cosine", "onecycle", "constant"] = Field(
        "cosine", description="cosine to 0, up and down in straight lines, or constant"
    )
    warmup: float | None = Field(
        None, ge=0, lt=1, description="share of the training in which it rises from 0; 0.3 for onecycle, else 0"
    )


class Augmentation(RecipePart):
    """Random changes of the training images, drawn anew in every epoch."""

    shift: int = Field(0, ge=0, description="largest shift in pixels, along both axes")
    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation in degrees")
    scale: float = Field(0.0, ge=0, lt=1, description="largest change of size: 0.1 is 0.9 to 1.1")
    hflip: bool = Field(False, description="mirror half of the images")


class Evaluation(RecipePart):
    """What is measured on the test images when the training is done, for the card."""

    threat_models: tuple[ThreatModelSpec, ...] = Field((), description="norms and radii, such as linf:0.3")
    attacks: tuple[AttackSpec, ...] = Field(
        (AttackSpec(name="pgd", args={"steps": 40}), AttackSpec(name="autoattack")),
        description="the attacks that are run under each of them, as in a suite",
    )
    std: float | None = Field(
        None,
        gt=0,
        description="of a denoiser: standard deviation of the noise it is measured under; the method's where not given",
    )
    every: int = Field(1, ge=1, description="epochs between two measurements during the training")
    samples: int = Field(200, ge=0, description="test images of a measurement during the training; 0 for none")
